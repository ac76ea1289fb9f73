"""The metrics that Prometheus reads from a running `portcullis audit ship`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from portcullis.sinks.metrics import FAMILIES
from tests.support.alerts import SECRET, receiving
from tests.support.metrics import Samples, families, read_samples, value
from tests.support.ports import free_port
from tests.support.programs import PATIENCE, plain_environment, running, until
from tests.support.sinks import SinkWorld

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SinkWorld:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    (tmp_path / "secret").chmod(0o600)
    return SinkWorld(tmp_path)


def webhook(world: SinkWorld, name: str, url: str) -> None:
    world.sink(name, "webhook", url, f'secret_file = "{world.root}/secret"')


def samples(place: str) -> Samples:
    try:
        return read_samples(httpx2.get(f"http://{place}/metrics", timeout=60).text)
    except httpx2.TransportError:
        return {}


def test_the_page_shows_what_each_sink_has_and_how_far_it_is_behind(world: SinkWorld) -> None:
    place = f"127.0.0.1:{free_port()}"
    arguments = ["audit", "ship", "--config", str(world.config)]

    def found(name: str, sink: str) -> float | None:
        return samples(place).get((f"portcullis_sink_{name}", (("sink", sink),)))

    with receiving() as alive, receiving() as dead:
        dead.status = 500
        webhook(world, "alive", alive.url)
        webhook(world, "dead", dead.url)
        world.happen(3, 1)
        environment = plain_environment(AUDIT_SINKS_METRICS_LISTEN=place)
        with running(arguments, world.root / "ship.log", environment):
            until(lambda: found("waiting_entries", "alive") == 0, "the sink that works")
            until(lambda: (found("attempts_failed_total", "dead") or 0) >= 2, "two attempts at the other one")
            entries = found("entries", "alive")
            assert (
                found("lag_seconds", "alive") == found("failing", "alive") == found("refused_total", "alive") == 0
            )
            assert (found("records_total", "alive") or 0) >= 4
            assert abs((found("last_success_timestamp_seconds", "alive") or 0) - time.time()) < 3600
            assert (found("waiting_entries", "dead"), found("entries", "dead")) == (entries, 0)
            assert (found("records_total", "dead"), found("failing", "dead")) == (0, 1)
            assert found("last_success_timestamp_seconds", "dead") is None, "it never took anything"
            assert (found("lag_seconds", "dead") or 0) > 0
            kinds = families(httpx2.get(f"http://{place}/metrics", timeout=60).text)
            assert kinds == {family.name: family.kind for family in FAMILIES}
            dead.status = 204
            until(lambda: found("waiting_entries", "dead") == 0, "the sink to have everything")
            assert found("lag_seconds", "dead") == 0
            until(lambda: found("failing", "dead") == 0)


def test_a_sink_that_is_away_is_behind_since_it_had_everything_also_after_a_restart(world: SinkWorld) -> None:
    place = f"127.0.0.1:{free_port()}"
    with receiving() as receiver:
        webhook(world, "siem", receiver.url)
        world.happen(2)
        assert world.ship().exit_code == 0
        receiver.status = 500
        world.happen(2)
        arguments = ["audit", "ship", "--config", str(world.config)]
        before = time.time()
        with running(
            arguments, world.root / "ship.log", plain_environment(AUDIT_SINKS_METRICS_LISTEN=place)
        ) as process:
            name = "portcullis_sink_attempts_failed_total"
            until(lambda: (name, (("sink", "siem"),)) in samples(place) or process.poll() is not None)
            until(lambda: value(samples(place), name, sink="siem") > 0, "a failed attempt")
            page = samples(place)
            assert value(page, "portcullis_sink_waiting_entries", sink="siem") == 1
            # The checkpoint of the first events is older than this program.
            assert value(page, "portcullis_sink_lag_seconds", sink="siem") > time.time() - before - 1
            assert value(page, "portcullis_sink_last_success_timestamp_seconds", sink="siem") < before


def test_an_address_that_is_not_loopback_is_refused(world: SinkWorld) -> None:
    webhook(world, "siem", f"http://127.0.0.1:{free_port()}/closed")
    world.happen(1)
    environment = plain_environment(AUDIT_SINKS_METRICS_LISTEN="0.0.0.0:9106")
    log = world.root / "ship.log"
    with running(["audit", "ship", "--config", str(world.config)], log, environment) as process:
        assert process.wait(PATIENCE) == 2
    assert "AUDIT_SINKS_METRICS_LISTEN" in log.read_text()


def test_with_stay_the_program_waits_for_settings_that_can_be_used(world: SinkWorld) -> None:
    log = world.root / "ship.log"
    with running(["audit", "ship", "--stay", "--config", str(world.config)], log) as process:
        until(lambda: "audit.sinks is empty" in log.read_text(), "the report of the fault")
        assert process.poll() is None
        process.terminate()
        assert process.wait(PATIENCE) == 0
