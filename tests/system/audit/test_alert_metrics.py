"""The metrics that Prometheus reads from a running `portcullis alerts run`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from portcullis.alerts.metrics import FAMILIES
from tests.support.alerts import AlertWorld, receiving, reuse
from tests.support.metrics import Samples, families, read_samples, value
from tests.support.ports import free_port
from tests.support.programs import PATIENCE, running, until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlertWorld:
    monkeypatch.chdir(tmp_path)
    return AlertWorld(tmp_path)


def samples(place: str) -> Samples:
    try:
        return read_samples(httpx2.get(f"http://{place}/metrics", timeout=60).text)
    except httpx2.TransportError:
        return {}


def test_the_page_has_findings_alerts_attempts_and_waiting_alerts(world: AlertWorld) -> None:
    place = f"127.0.0.1:{free_port()}"

    def found(name: str, **labels: str) -> float:
        return value(samples(place), f"portcullis_{name}", **labels)

    with receiving() as alive, receiving() as dead:
        dead.status = 500
        world.configure(f'interval = 1\nmetrics_listen = "{place}"')
        world.webhook("alive", alive.url)
        world.webhook("dead", dead.url)
        world.happen(reuse(), reuse("grant-2"))
        with running(["alerts", "run", "--config", str(world.config)], world.root / "run.log"):
            until(lambda: found("alerts_sent_total", destination="alive") == 2, "both alerts")
            until(lambda: found("alert_attempts_failed_total", destination="dead") >= 2, "both attempts")
            rule = "refresh_token_reuse"
            assert found("alert_findings_total", rule=rule) == found("alerts_made_total", rule=rule) == 2
            until(lambda: found("alerts_waiting", destination="dead") == 2)
            assert found("alerts_oldest_waiting_seconds", destination="dead") > 0
            assert found("alerts_waiting", destination="alive") == 0
            assert found("alerts_oldest_waiting_seconds", destination="alive") == 0
            assert found("alerts_given_up_total", destination="dead") == 0
            assert found("alerts_last_look_timestamp_seconds") > 1_700_000_000
            assert ("portcullis_alerts_look_incomplete", ()) in samples(place)
            # A rule without a finding has a series too, so that its first finding is an increase.
            assert ("portcullis_alert_findings_total", (("rule", "code_replay"),)) in samples(place)
            kinds = families(httpx2.get(f"http://{place}/metrics", timeout=60).text)
            assert kinds == {family.name: family.kind for family in FAMILIES}
            # A further finding of the same cause creates no second alert.
            world.happen(reuse(hours=0.001))
            until(lambda: found("alert_findings_total", rule=rule) == 3)
            assert found("alerts_made_total", rule=rule) == 2


def test_an_alert_that_is_given_up_is_counted(world: AlertWorld) -> None:
    place = f"127.0.0.1:{free_port()}"
    with receiving() as gone:
        gone.status = 410
        world.configure(f'interval = 1\nmetrics_listen = "{place}"')
        world.webhook("gone", gone.url)
        world.happen(reuse())
        with running(["alerts", "run", "--config", str(world.config)], world.root / "run.log"):
            name = "portcullis_alerts_given_up_total"
            until(lambda: value(samples(place), name, destination="gone") == 1)


def test_the_name_of_a_rule_of_the_operator_breaks_no_page(world: AlertWorld) -> None:
    place = f"127.0.0.1:{free_port()}"
    rules = world.root / "rules"
    rules.mkdir()
    (rules / 'a "b"\n.yml').write_text(
        "title: Any\nid: 7b7e2f4e-1111-4222-8333-123456789abc\ndescription: Any.\nlevel: high\n"
        "logsource: {product: portcullis}\n"
        "detection: {selection: {event: refresh.reused}, condition: selection}\n",
        encoding="utf-8",
    )
    world.configure(f'interval = 1\nmetrics_listen = "{place}"\nrules = "{rules}"')
    world.webhook("hook", f"http://127.0.0.1:{free_port()}/closed")
    with running(["alerts", "run", "--config", str(world.config)], world.root / "run.log") as process:
        until(lambda: samples(place) or process.poll() is not None)
        assert process.poll() is None, (world.root / "run.log").read_text()
        assert ("portcullis_alert_findings_total", (("rule", "a__b__"),)) in samples(place)


def test_an_address_that_is_not_loopback_is_refused(world: AlertWorld) -> None:
    world.configure('metrics_listen = "0.0.0.0:9105"')
    world.webhook("hook", f"http://127.0.0.1:{free_port()}/closed")
    with running(["alerts", "run", "--config", str(world.config)], world.root / "run.log") as process:
        assert process.wait(PATIENCE) == 2
    assert "alerts.metrics_listen" in (world.root / "run.log").read_text()
