"""`portcullis audit detect` and `audit rules`: what they print, and their exit codes."""

from __future__ import annotations

import errno
import json
import os
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from click.testing import CliRunner

from oauth_core.audit import EventKind
from oauth_core.errors import SettingsError
from portcullis.cli.main import cli
from portcullis.detection.rules import SHIPPED
from tests.support.audit_sealing import SealedWorld
from tests.support.audit_segments import SegmentWriter, write_segment

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

PERIOD = ("--since", "2026-11-30T06:00:00Z", "--until", "2026-12-01T06:00:00Z")


def reuse(minutes: int = 5, **fields: object) -> dict[str, object]:
    time = datetime(2026, 11, 30, 6, minutes, tzinfo=UTC)
    return {
        "v": 1,
        "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event": str(EventKind.REFRESH_REUSED),
        "outcome": "denied",
        "client_id": "editor",
        "grant_id": "grant-1",
        "source": "203.0.113.7",
    } | fields


def detect(audit_dir: Path, *options: str) -> Result:
    return CliRunner().invoke(cli, ["audit", "detect", "--audit-dir", str(audit_dir), *PERIOD, *options])


def test_a_finding_has_its_meaning_the_affected_identities_and_its_events(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[reuse(5), reuse(6, user="mona", user_id=7)]])
    result = detect(tmp_path, "--unsealed")
    assert result.exit_code == 3
    for text in (
        "HIGH  Refresh token used after its successor  (refresh_token_reuse)",
        "Two programs have tokens of the same grant",
        "people    mona",
        "clients   editor",
        "addresses 203.0.113.7",
        "2026-11-30T06:05:00.000000Z  node-1/ext_authz.0/20261130T060000Z-0123abcd/1",
    ):
        assert text in result.stdout
    assert "2 findings by" in result.stderr


def test_show_finds_the_place_in_a_finding(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[reuse()]])
    result = detect(tmp_path, "--unsealed", "--json", "--rule", "refresh_token_reuse")
    [found] = map(json.loads, result.stdout.splitlines())
    place = found["first"]["place"]
    assert place == found["last"]["place"]
    shown = CliRunner().invoke(cli, ["audit", "show", "--audit-dir", str(tmp_path), "--json", place])
    assert json.loads(shown.stdout)["event"] == "refresh.reused"
    assert (found["rule"], found["level"], found["events"], found["sealed"]) == (
        "refresh_token_reuse",
        "high",
        1,
        False,
    )
    assert found["values"]["client_id"] == {"shown": ["editor"], "count": 1}


def test_only_sealed_events_are_examined_and_the_number_of_others_is_reported(tmp_path: Path) -> None:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    writer.write(reuse(5, grant_id="sealed"))
    world.seal()
    writer.write(reuse(6, grant_id="not sealed"))
    result = detect(world.audit_dir, "--json", "--rule", "refresh_token_reuse")
    [found] = map(json.loads, result.stdout.splitlines())
    assert (found["values"]["grant_id"]["shown"], found["sealed"]) == (["sealed"], True)
    assert "1 left out, because they are not sealed" in result.stderr
    assert len(detect(world.audit_dir, "--unsealed", "--json").stdout.splitlines()) == 2


def test_without_a_checkpoint_no_event_is_examined_and_that_is_an_error(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[reuse()]])
    result = detect(tmp_path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "1 left out, because they are not sealed (not sealed: no checkpoint)" in result.stderr


def test_no_finding_is_exit_code_zero(tmp_path: Path) -> None:
    write_segment(tmp_path, batches=[[reuse(event="refresh.repeated")]])
    result = detect(tmp_path, "--unsealed")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("No finding by")


def test_an_unreadable_part_is_reported_beside_the_findings(tmp_path: Path) -> None:
    written = write_segment(tmp_path, batches=[[reuse()], [reuse(6)]], closed=False)
    data = bytearray(written.path.read_bytes())
    data[-5] ^= 0xFF
    written.path.write_bytes(data)
    result = detect(tmp_path, "--unsealed", "--rule", "refresh_token_reuse")
    assert result.exit_code == 1
    assert "refresh_token_reuse" in result.stdout
    assert "The result is not complete" in result.stderr


def test_a_full_disk_is_an_error_and_not_a_period_without_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_segment(tmp_path, batches=[[reuse()]])
    monkeypatch.setattr("portcullis.detection.events_table.Path.write_bytes", write)
    result = detect(tmp_path, "--unsealed")
    assert result.exit_code == 1
    assert (
        "the events cannot be kept for the rules: No space left on device" in str(result.exception) + result.stderr
    )


def test_an_unknown_rule_is_a_usage_error(tmp_path: Path) -> None:
    result = detect(tmp_path, "--rule", "no_such")
    assert result.exit_code == 2
    assert "there is no rule no_such; `portcullis audit rules` lists them" in result.stderr


def test_a_rule_of_the_operator_is_added_or_replaces_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    text = (SHIPPED / "refresh_token_reuse.yml").read_text(encoding="utf-8")
    (own / "refresh_token_reuse.yml").write_text(text.replace("level: high", "level: low"), encoding="utf-8")
    another = text.replace("refresh.reused", "user.blocked")
    (own / "blocked.yml").write_text(re.sub("(?m)^id: .*", f"id: {uuid4()}", another), encoding="utf-8")
    write_segment(tmp_path / "audit", batches=[[reuse(), reuse(event="user.blocked")]])
    result = detect(tmp_path / "audit", "--unsealed", "--json", "--rules", str(own))
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(each["rule"], each["level"]) for each in found] == [
        ("blocked", "high"),
        ("refresh_token_reuse", "low"),
    ]


def test_the_rules_are_listed_with_their_conditions() -> None:
    result = CliRunner().invoke(cli, ["audit", "rules"])
    assert result.exit_code == 0
    assert "at least 10 events within 10m of one network" in result.stdout
    listed = [
        json.loads(line) for line in CliRunner().invoke(cli, ["audit", "rules", "--json"]).stdout.splitlines()
    ]
    assert [rule["name"] for rule in listed] == sorted(path.stem for path in SHIPPED.iterdir())


@pytest.mark.parametrize("package", ["duckdb", "sigma.collection"])
def test_without_its_packages_the_command_explains_how_to_install_them(
    tmp_path: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("portcullis.detection")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result: Any = detect(tmp_path)
    assert isinstance(result.exception, SettingsError)
    assert "requirements/audit.txt" in str(result.exception)


def test_the_default_period_is_the_last_day(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    times = [(now - timedelta(hours=hours)).isoformat(timespec="microseconds") for hours in (1, 48)]
    events = [reuse(time=time.replace("+00:00", "Z"), grant_id=f"g{n}") for n, time in enumerate(times)]
    writer = SegmentWriter(tmp_path)
    writer.folder.joinpath("000001.seg").unlink()
    writer.index = 0
    writer.encoder = type(writer.encoder)()
    writer.open_segment(times[1].replace("+00:00", "Z"))
    writer.write(*events)
    options = ["audit", "detect", "--audit-dir", str(tmp_path), "--unsealed", "--json"]
    result = CliRunner().invoke(cli, [*options, "--rule", "refresh_token_reuse"])
    assert [json.loads(line)["values"]["grant_id"]["shown"] for line in result.stdout.splitlines()] == [["g0"]]
