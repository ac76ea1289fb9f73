"""Sinks of each kind: a receiver of syslog over TLS, a verified webhook, and a real NATS server."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any

import pytest
from standardwebhooks import Webhook
from syslogcef.parsers import parse_rfc5424

from portcullis.sinks.nats import NatsSender
from portcullis.sinks.otlp import OtlpSender
from portcullis.sinks.records import Record, RecordKind
from portcullis.sinks.sending import NotTakenError
from portcullis.sinks.syslog import SyslogSender
from tests.support.alerts import SECRET, receiving
from tests.support.certificates import Authority
from tests.support.nats_server import SUBJECT, TOKEN, NatsServer, nats_server
from tests.support.ports import free_port
from tests.support.programs import until
from tests.support.sinks import SinkWorld, places
from tests.support.syslog_receiver import receiving_syslog

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SinkWorld:
    monkeypatch.chdir(tmp_path)
    return SinkWorld(tmp_path)


def lines_of(documents: list[dict[str, Any]]) -> dict[int, str]:
    """The line of each event among records of JSON, by its sequence number."""
    return {one["sequence"]: one["line"] for one in documents if one["kind"] == "event"}


# -- syslog ----------------------------------------------------------------------------------------------------


def test_syslog_receives_each_event_with_its_place_over_verified_tls(world: SinkWorld) -> None:
    authority = Authority(world.root, "authority")
    ours = authority.identity("gateway")
    with receiving_syslog(authority.identity("localhost"), clients=authority) as receiver:
        url = f"tls://localhost:{receiver.port}"
        certificates = (f'ca_file = "{authority.cert}"', f'cert_file = "{ours.cert}"', f'key_file = "{ours.key}"')
        world.sink("log", "syslog", url, *certificates)
        world.happen(3, 2)
        assert world.ship().exit_code == 0
        until(lambda: len(receiver.messages) == 7, "the messages")  # an opening, five events, a checkpoint
    found = [one for message in receiver.messages if (one := parse_rfc5424(message.decode())) is not None]
    events = {
        int(one.sd["portcullis@32473.sequence"]): one.msg
        for one in found
        if one.sd["portcullis@32473.record"] == "event"
    }
    assert events == world.lines()
    assert json.loads(found[-1].msg) == world.sealed.folder.checkpoint.read_text()


def test_a_syslog_receiver_with_another_certificate_gets_nothing(world: SinkWorld) -> None:
    trusted, other = Authority(world.root, "trusted"), Authority(world.root, "other")
    with receiving_syslog(other.identity("localhost")) as receiver:
        world.sink("log", "syslog", f"tls://localhost:{receiver.port}", f'ca_file = "{trusted.cert}"')
        world.happen(1)
        result = world.ship()
    assert result.exit_code == 1
    assert "log: the connection failed (SSLCertVerificationError)" in result.stderr
    assert receiver.messages == []


def test_a_closed_syslog_connection_is_opened_again(world: SinkWorld) -> None:
    authority = Authority(world.root, "authority")
    with receiving_syslog(authority.identity("localhost")) as receiver:
        context = ssl.create_default_context(cafile=authority.cert)
        sender = SyslogSender("localhost", receiver.port, context, enterprise=32473)
        record = Record(RecordKind.ENTRY, "tree", "an entry", "node-1", "oauth_web", "boot", index=1)
        sender.send([record])
        until(lambda: len(receiver.messages) == 1, "the first message")
        receiver.hang_up()

        def arrives() -> bool:
            # One attempt may fail: the connection can end at any time.
            try:
                sender.send([record])
            except NotTakenError:
                return False
            return len(receiver.messages) > 1

        until(arrives, "a message by a new connection")
        sender.close()


# -- webhooks --------------------------------------------------------------------------------------------------


def test_a_webhook_gets_signed_batches_with_the_same_id_in_each_attempt(world: SinkWorld) -> None:
    (world.root / "secret").write_text(SECRET)
    with receiving() as receiver:
        world.sink("hook", "webhook", receiver.url, f'secret_file = "{world.root}/secret"')
        world.happen(2, 3)
        receiver.status = 500
        assert world.ship().exit_code == 1
        receiver.status = 204
        assert world.ship().exit_code == 0
    documents = []
    for one in receiver.taken():
        body = Webhook(SECRET).verify(one.body, one.headers)
        assert body["type"] == "audit.records"
        documents += body["data"]["records"]
    assert lines_of(documents) == world.lines()
    assert receiver.received[0].headers["webhook-id"] == receiver.received[1].headers["webhook-id"]
    assert documents[-1]["note"] == world.sealed.folder.checkpoint.read_text()


def test_an_invalid_webhook_secret_is_reported_without_its_text(world: SinkWorld) -> None:
    (world.root / "secret").write_text("whsec_short")
    world.sink("hook", "webhook", "https://hook.example.com/a", f'secret_file = "{world.root}/secret"')
    world.happen(1)
    fault = str(world.ship().exception)
    assert "audit.sinks hook: secret_file: the text must be whsec_" in fault
    assert "short" not in fault


# -- NATS ------------------------------------------------------------------------------------------------------


def of_nats(world: SinkWorld, server: NatsServer, *more: str) -> None:
    """Add the server as a sink."""
    (world.root / "token").write_text(TOKEN)
    world.sink("stream", "nats", server.url, f'secret_file = "{world.root}/token"', *more)


def test_a_nats_stream_has_each_record_once_even_if_it_was_sent_twice(world: SinkWorld) -> None:
    with nats_server(world.root / "nats") as server:
        server.make_stream()
        of_nats(world, server)
        world.happen(3, 1)
        assert world.ship().exit_code == 0
        cursor = world.audit_dir / "sinks" / "stream.json"
        before = cursor.read_text()
        world.happen(2)
        world.ship()
        cursor.write_text(before)  # as after a crash between the acknowledgement and the note of it
        assert world.ship().exit_code == 0
        messages = server.messages()
    ids = [name for name, _ in messages]
    assert [name for name in ids if name in places(range(1, 7))] == places(range(1, 7))
    assert len(set(ids)) == len(ids)
    documents = [json.loads(data) for _, data in messages]
    assert lines_of(documents) == world.lines()
    assert [one["id"] for one in documents] == ids


def test_a_stream_that_is_away_gets_everything_when_it_is_back(world: SinkWorld) -> None:
    port = free_port()
    with nats_server(world.root / "nats", port=port) as server:
        server.make_stream()
        of_nats(world, server)
        world.happen(1)
        world.ship()
    world.happen(600)
    result = world.ship()
    assert result.exit_code == 1
    assert "stream: no answer" in result.stderr
    with nats_server(world.root / "nats", port=port) as server:
        assert world.ship().exit_code == 0
        assert lines_of([json.loads(data) for _, data in server.messages()]) == world.lines()


def test_records_without_a_stream_for_the_subject_are_not_counted_as_sent(world: SinkWorld) -> None:
    with nats_server(world.root / "nats") as server:
        of_nats(world, server)
        world.happen(1)
        result = world.ship()
        assert result.exit_code == 1
        assert f"stream: no stream stores the subject {SUBJECT}" in result.stderr
        server.make_stream()
        assert world.ship().exit_code == 0
        assert len(server.messages()) == 3


def test_a_full_stream_that_refuses_more_is_reported_and_nothing_is_skipped(world: SinkWorld) -> None:
    with nats_server(world.root / "nats") as server:
        server.make_stream(max_msgs=2, discard="new")
        of_nats(world, server)
        world.happen(3)
        result = world.ship()
        assert result.exit_code == 1
        assert "stream: the stream refuses the records (code " in result.stderr
        assert world.states()["stream"]["entries"] == 0


def test_nats_uses_verified_tls_and_its_token_is_never_printed(world: SinkWorld) -> None:
    authority = Authority(world.root, "authority")
    identity = authority.identity("localhost")
    tls = f'tls {{ cert_file: "{identity.cert}", key_file: "{identity.key}" }}'
    context = ssl.create_default_context(cafile=authority.cert)
    with nats_server(world.root / "nats", tls, scheme="tls", tls=context) as server:
        server.make_stream()
        of_nats(world, server)
        world.happen(2)
        refused = world.ship()
        assert refused.exit_code == 1
        of_nats(world, server, f'ca_file = "{authority.cert}"')
        assert world.ship().exit_code == 0
        assert lines_of([json.loads(data) for _, data in server.messages()]) == world.lines()
        (world.root / "token").write_text("a-wrong-token")
        world.happen(1)
        wrong = world.ship()
        assert wrong.exit_code == 1
    shown = refused.output + wrong.output + world.run("sinks").output
    assert TOKEN not in shown
    assert "a-wrong-token" not in shown


def test_a_nats_server_that_needs_no_tls_gets_nothing_at_an_address_with_tls() -> None:
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b'INFO {"tls_required": false, "max_payload": 1048576}\r\n')
                received.append(connection.recv(4096))

        server = threading.Thread(target=serve)
        server.start()
        sender = NatsSender(f"tls://127.0.0.1:{listening.getsockname()[1]}", SUBJECT, TOKEN)
        with pytest.raises(NotTakenError, match="the server offers no TLS"):
            sender.send([entry()])
        sender.close()
        server.join()
    assert received == [b""]


def test_frames_are_sent_in_parts_that_a_server_accepts(world: SinkWorld) -> None:
    with nats_server(world.root / "nats") as server:
        server.make_stream()
        of_nats(world, server, 'proof = "frames"')
        world.happen(2)
        world.ship()
        documents = [json.loads(data) for _, data in server.messages()]
    kinds = [one["kind"] for one in documents]
    assert kinds == ["frame", "entry", "frame", "event", "event", "checkpoint"]


# -- receivers that never answer -------------------------------------------------------------------------------


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a receiver that accepts connections, and neither reads nor writes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def entry(text: str = "an entry") -> Record:
    return Record(RecordKind.ENTRY, "tree", text, "node-1", "oauth_web", "boot", index=1)


def test_an_attempt_at_a_syslog_receiver_that_does_not_read_ends(silent: int) -> None:
    sender = SyslogSender("127.0.0.1", silent, None, enterprise=32473, seconds=1.0)
    with pytest.raises(NotTakenError, match=r"the connection failed \(TimeoutError\)"):
        sender.send([entry("x" * 64 * 1024 * 1024)])
    sender.close()


def test_an_attempt_at_a_receiver_that_does_not_answer_the_handshake_of_tls_ends(silent: int) -> None:
    context = ssl.create_default_context()
    sender = SyslogSender("127.0.0.1", silent, context, enterprise=32473, seconds=1.0)
    with pytest.raises(NotTakenError, match="the connection failed"):
        sender.send([entry()])
    sender.close()


def test_an_attempt_at_a_silent_nats_server_ends(silent: int) -> None:
    sender = NatsSender(f"nats://127.0.0.1:{silent}", SUBJECT, seconds=1.0)
    with pytest.raises(NotTakenError, match="no answer"):
        sender.send([entry()])
    sender.close()


def test_an_attempt_at_a_silent_collector_ends(silent: int) -> None:
    sender = OtlpSender(f"http://127.0.0.1:{silent}/v1/logs", {}, seconds=1.0)
    with pytest.raises(NotTakenError, match="no answer"):
        sender.send([entry()])
