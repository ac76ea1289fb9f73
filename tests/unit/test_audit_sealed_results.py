"""Each result of a search has a statement which of its events the newest signed checkpoint covers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from portcullis.cli.main import cli
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import BOOT, NODE, SegmentWriter, event

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def _no_other_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUDIT_SEAL_KEY", raising=False)


@pytest.fixture
def world(tmp_path: Path) -> SealedWorld:
    return SealedWorld(tmp_path)


def output(world: SealedWorld, command: str, *arguments: str) -> str:
    result = CliRunner().invoke(cli, ["audit", command, "--audit-dir", str(world.audit_dir), *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def sealed_calls(world: SealedWorld) -> list[str]:
    found = [json.loads(line) for line in output(world, "search", "--json").splitlines()]
    return [one["call"] for one in found if one["sealed"]]


def last_line(world: SealedWorld, *options: str) -> str:
    return output(world, "search", *options).splitlines()[-1]


def test_events_are_sealed_once_a_checkpoint_covers_them(world: SealedWorld) -> None:
    writer = SegmentWriter(world.audit_dir, "oauth_web")
    writer.write(event(1), event(2))
    assert last_line(world) == "2 events; not sealed: no checkpoint."
    checkpoint = world.seal()
    newest = f"checkpoint {checkpoint.size} of {checkpoint.time}"
    assert last_line(world) == f"2 events; all sealed by the {newest}."
    SegmentWriter(world.audit_dir, "ext_authz.0").write(event(3))
    writer.write(event(4))
    assert last_line(world) == f"4 events; 2 sealed by the {newest}, 2 not yet."
    assert (
        last_line(world, "--since", "2026-11-30T06:00:03Z")
        == f"2 events; not sealed yet, the newest is the {newest}."
    )
    assert sealed_calls(world) == ["call-1", "call-2"]
    world.seal()
    assert sealed_calls(world) == [f"call-{n}" for n in (1, 2, 3, 4)]


def test_events_of_programs_that_ended_long_ago_stay_sealed(world: SealedWorld) -> None:
    first = SegmentWriter(world.audit_dir, "oauth_web")
    first.write(event(1))
    first.close()
    world.seal()
    second = SegmentWriter(world.audit_dir, "oauth_web", "20261130T070000Z-0000abcd")
    for number in (2, 3):
        second.write(event(number))
        world.seal()
    assert "all sealed" in last_line(world)
    assert [boot.boot for boot in world.checkpoint().boots] == ["20261130T070000Z-0000abcd"]


def test_show_and_timeline_report_it_too(world: SealedWorld) -> None:
    SegmentWriter(world.audit_dir, "oauth_web").write(event(1, user="octocat"))
    world.seal()
    assert "all sealed by the checkpoint" in output(world, "timeline", "octocat")
    place = f"{NODE}/oauth_web/{BOOT}/1"
    assert "all sealed by the checkpoint" in output(world, "show", place)
    assert json.loads(output(world, "show", place, "--json"))["sealed"] is True


def test_a_checkpoint_of_another_key_seals_nothing(world: SealedWorld) -> None:
    SegmentWriter(world.audit_dir, "oauth_web").write(event(1))
    world.seal()
    world.key.make(NODE)
    assert "not sealed: the checkpoint cannot be used" in last_line(world)
    assert sealed_calls(world) == []


def test_without_the_public_key_the_output_says_that_the_signature_was_not_checked(world: SealedWorld) -> None:
    SegmentWriter(world.audit_dir, "oauth_web").write(event(1))
    world.seal()
    world.key.public.unlink()
    assert "its signature not checked: there is no audit_seal.pub" in last_line(world)
    assert sealed_calls(world) == ["call-1"]


@pytest.mark.parametrize("text", ["", "x", "\udcff"])
def test_a_broken_checkpoint_seals_nothing(world: SealedWorld, text: str) -> None:
    SegmentWriter(world.audit_dir, "oauth_web").write(event(1))
    world.folder.checkpoint.write_bytes(text.encode(errors="surrogateescape"))
    assert "not sealed: the checkpoint cannot be used" in last_line(world)
