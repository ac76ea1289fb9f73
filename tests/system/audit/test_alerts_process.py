"""`portcullis alerts run` as a process: its end at any time loses no alert, and one process at a time uses an
outbox.
"""

from __future__ import annotations

import ssl
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.alerts import AlertWorld, Receiver, receiving, reuse
from tests.support.certificates import Authority
from tests.support.http_servers import serving
from tests.support.programs import running, until

if TYPE_CHECKING:
    from pathlib import Path

PATIENCE = 60.0


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AlertWorld:
    monkeypatch.chdir(tmp_path)
    made = AlertWorld(tmp_path)
    made.configure("interval = 1")
    return made


def subjects(receiver: Receiver) -> list[str]:
    """The subjects of the alerts that the receiver accepted, in their order."""
    return [one.data["subject"] for one in receiver.taken()]


def test_an_alert_is_delivered_by_the_next_process_if_this_one_is_killed(world: AlertWorld) -> None:
    arguments = ["alerts", "run", "--config", str(world.config)]
    with receiving() as receiver:
        receiver.status = 503
        world.webhook("hook", receiver.url)
        world.happen(reuse())
        with running(arguments, world.root / "first.log") as first:
            until(lambda: receiver.received, "an attempt")
            until(lambda: world.listed()["alerts"][0]["deliveries"][0]["attempts"], "the note of it")
            other = world.run("run")
            assert other.exit_code != 0
            assert f"another `alerts run` (process {first.pid}) uses" in str(other.exception)
            first.kill()
            first.wait(PATIENCE)
        receiver.status = 204
        with running(arguments, world.root / "second.log") as second:
            [alert] = world.listed()["alerts"]
            assert world.run("resend", alert["id"]).exit_code == 0  # so that it is due now
            until(receiver.taken, "the alert")
            world.happen(reuse("grant-2", hours=0.001))
            until(lambda: "grant_id grant-2" in subjects(receiver), "the alert of a later event")
            second.terminate()
            assert second.wait(PATIENCE) == 0
    # On a slow machine the alert can be sent again before `resend`.
    assert list(dict.fromkeys(subjects(receiver))) == ["grant_id grant-1", "grant_id grant-2"]
    assert {one.data["id"] for one in receiver.received if one.answered == 503} == {alert["id"]}
    assert "hook: it answers 503; trying again" in (world.root / "first.log").read_text()


def test_without_a_destination_the_program_reports_it(world: AlertWorld) -> None:
    for name in ("run", "test"):
        assert "alerts.destinations is empty" in str(world.run(name).exception)


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("", "alerts.destinations is empty"),
        ("\n[[alerts.destinations]]\nname = 'x'\nkind = 'pigeon'\n", "alerts.destinations"),
    ],
)
def test_with_the_stay_option_the_program_reports_its_fault_and_ends_only_when_stopped(
    world: AlertWorld, settings: str, fault: str
) -> None:
    """In a pod, a program that ends would stop the calls of the pod."""
    with world.config.open("a", encoding="utf-8") as config:
        config.write(settings)
    log = world.root / "alerts.log"
    with running(["alerts", "run", "--stay", "--config", str(world.config)], log) as process:
        until(lambda: process.poll() is not None or "trying again" in log.read_text(), "the report")
        assert process.poll() is None
        assert fault in log.read_text()
        process.terminate()
        assert process.wait(PATIENCE) == 2


def test_the_options_once_and_stay_exclude_one_another(world: AlertWorld) -> None:
    result = world.run("run", "--once", "--stay")
    assert result.exit_code == 2
    assert "exclude one another" in result.output


def test_a_receiver_with_a_certificate_of_an_unknown_authority_gets_nothing(world: AlertWorld) -> None:
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            requests.append(self.path)
            self.send_response(204)
            self.end_headers()

    identity = Authority(world.root, "authority").identity("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    place = f"127.0.0.1:{server.server_address[1]}"
    world.webhook("hook", f"https://{place}/")
    world.service("json", f"jsons://{place}/?verify=no")
    with serving(server):
        result = world.run("test")
    assert result.exit_code == 1
    assert result.stdout.count("not taken") == 2
    assert requests == []
