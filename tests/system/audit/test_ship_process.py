"""`portcullis audit ship` as a process, with a real OpenTelemetry Collector as its sink."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from portcullis.cli.main import cli
from tests.support.otel_collector import collector, needs_collector
from tests.support.ports import free_port
from tests.support.programs import running, until
from tests.support.sinks import SinkWorld, receiving_otlp

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SinkWorld:
    monkeypatch.chdir(tmp_path)
    return SinkWorld(tmp_path)


def proof(world: SinkWorld, file: Path) -> dict[str, Any]:
    """The result of `verify-received`. A checkpoint comes once a minute; newer events are `unproven`."""
    if not file.exists():
        return {"events": 0, "unproven": 0}
    options = ["--key", world.sealed.signer.verifier.text, "--json"]
    found: dict[str, Any] = json.loads(
        CliRunner().invoke(cli, ["audit", "verify-received", str(file), *options]).stdout
    )
    return found


def arrived(world: SinkWorld, file: Path) -> int:
    """How many events a file has."""
    found = proof(world, file)
    return int(found["events"] + found["unproven"])


@needs_collector
def test_a_collector_has_everything_after_both_it_and_the_program_were_away(world: SinkWorld) -> None:
    port = free_port()
    world.sink("collector", "otlp", f"http://127.0.0.1:{port}/v1/logs", 'proof = "frames"')
    arguments = ["audit", "ship", "--config", str(world.config)]
    world.happen(3, 1)
    with running(arguments, world.root / "first.log") as first:
        until(lambda: "trying again" in (world.root / "first.log").read_text(), "a failed attempt")
        with collector(world.root / "collector", port) as there:
            until(lambda: arrived(world, there.file) == 4, "the first events")
            first.kill()
            first.wait(PATIENCE)
    world.happen(2, 700)
    with collector(world.root / "collector", port), running(arguments, world.root / "second.log") as second:
        until(lambda: arrived(world, there.file) == 706, "the later events")
        second.terminate()
        assert second.wait(PATIENCE) == 0
        assert world.ship().exit_code == 0  # with the newest checkpoint
        until(lambda: proof(world, there.file)["events"] == 706, "the checkpoint")
    found = proof(world, there.file)
    assert (found["complete"], found["findings"], found["contents"]) == (True, [], 706)


def test_one_program_at_a_time_sends_and_the_next_one_goes_on_where_it_was_killed(world: SinkWorld) -> None:
    arguments = ["audit", "ship", "--config", str(world.config)]
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url)
        world.happen(2)
        with running(arguments, world.root / "first.log") as first:
            until(lambda: len(receiver.events()) == 2, "the first events")
            until(lambda: world.states()["siem"]["entries"] == 2, "the note of them")
            other = world.ship()
            assert f"another `audit ship` (process {first.pid}) sends the record" in str(other.exception)
            assert world.run("sinks", "--forget", "siem").exit_code == 1
            first.kill()
            first.wait(PATIENCE)
        world.happen(3)
        with running(arguments, world.root / "second.log") as second:
            until(lambda: len(receiver.events()) == 5, "the later events")
            second.send_signal(signal.SIGTERM)
            assert second.wait(PATIENCE) == 0
        assert [number for number, _ in receiver.events()] == [1, 2, 3, 4, 5]


def test_a_dead_sink_delays_no_other_one_in_a_running_program(world: SinkWorld) -> None:
    arguments = ["audit", "ship", "--config", str(world.config)]
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url)
        world.sink("gone", "otlp", f"http://127.0.0.1:{free_port()}/v1/logs")
        world.happen(2)
        with running(arguments, world.root / "ship.log") as process:
            until(lambda: world.states()["gone"]["fault"], "the note of the fault")
            world.happen(2)
            until(lambda: len(receiver.events()) == 4, "the events of the other sink")
            process.terminate()
            assert process.wait(PATIENCE) == 0
    states = world.states()
    assert (states["siem"]["lag_events"], states["gone"]["lag_events"]) == (0, 4)
    assert states["gone"]["fault"] == "no answer (ConnectError)"


def test_a_running_program_continues_with_the_new_tree_of_an_operator(world: SinkWorld) -> None:
    world.happen(2)
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url)
        with running(["audit", "ship", "--config", str(world.config)], world.root / "ship.log") as process:
            until(lambda: len(receiver.events()) == 2, "the events")
            place = ["--audit-dir", str(world.audit_dir), "--key-file", str(world.sealed.key.path)]
            assert CliRunner().invoke(cli, ["audit", "key", "--new-tree", *place]).exit_code == 0
            world.sealed.folder.root.mkdir()
            sealer = world.sealed.new_sealer()
            while sealer.step():
                pass
            until(lambda: [number for number, _ in receiver.events()].count(2) >= 2, "the events of the new tree")
            process.terminate()
            assert process.wait(PATIENCE) == 0
    assert world.states()["siem"]["fault"] == ""


def test_the_program_waits_for_the_key_that_the_first_sealer_makes(world: SinkWorld) -> None:
    world.happen(1)
    aside = world.sealed.key.public.with_suffix(".aside")
    world.sealed.key.public.rename(aside)
    with receiving_otlp() as receiver:
        world.sink("siem", "otlp", receiver.url)
        lock = world.audit_dir / "sinks" / "lock"
        with running(["audit", "ship", "--config", str(world.config)], world.root / "ship.log") as process:
            until(lambda: lock.exists() and lock.read_text(), "the program")
            assert receiver.attempts == 0
            aside.rename(world.sealed.key.public)
            until(receiver.events, "the event")
            process.terminate()
            assert process.wait(PATIENCE) == 0
