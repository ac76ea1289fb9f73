"""Bodies that arrive during a check. Envoy buffers the first part, and must read on when the check ends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import h2.connection
import h2.events
import pytest
from envoy_data_plane.envoy.type.v3 import StatusCode

from ext_authz.decision.envoy_messages import PARTIAL_BODY
from oauth_core.settings.envoy import SMALLEST_BODY_BUFFER
from oauth_core.settings.roles import PermissionSettings
from tests.envoy.check_service import GOOD, Check, allow, deny, undecided
from tests.envoy.world import World, world_of
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from envoy_data_plane.envoy.service.auth.v3 import CheckResponse

_BEFORE = 31 * 1024
"""Bytes that arrive before the check. With two KiB more, Envoy stops reading until the check ends."""


def _wait_for_checks(manager: dict[str, Any]) -> None:
    """Let checks take a minute, so that the speed of a test makes no difference."""
    for each in manager["http_filters"]:
        if "grpc_service" in each["typed_config"]:
            each["typed_config"]["grpc_service"]["timeout"] = "60s"


@pytest.fixture(scope="module")
def gateway() -> Iterator[World]:
    """A gateway with the smallest limits that can be set; the service `time` has rules, `deep` has none."""
    with world_of(
        issuer="https://gate.example.com",
        local=False,
        rules=PermissionSettings.model_validate({"tools": {"*": "mcp.time.all"}}),
        max_request_bytes=SMALLEST_BODY_BUFFER,
        max_checked_bytes=1024,
        change=_wait_for_checks,
    ) as world:
        yield world


@pytest.mark.parametrize("at_once", [40_000, 66_000, 99_000, 130_000])
@pytest.mark.parametrize("size", [100_000, 131_072, 170_000, SMALLEST_BODY_BUFFER, 400_000, 600_000])
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("path", ["/time/mcp", "/time/mcp/deep"])
def test_a_body_of_any_size_is_read_completely_or_refused_with_any_timing(
    gateway: World, path: str, is_chunked: bool, size: int, at_once: int
) -> None:
    is_too_large = size > SMALLEST_BODY_BUFFER
    answer = b""
    while not answer:
        # Envoy closes the connection some time after a refusal. On a slow machine that can be before it is read.
        with contextlib.suppress(ConnectionError):
            answer = _answer_of(gateway, path, at_once, size, is_chunked=is_chunked)
        assert answer or is_too_large
    assert answer.startswith(b"HTTP/1.1 413 " if is_too_large else b"HTTP/1.1 200 ")
    assert [request.body for request in gateway.received] == ([] if is_too_large else [b"x" * size])


def _answer_of(gateway: World, path: str, at_once: int, size: int, *, is_chunked: bool) -> bytes:
    """The first bytes of the answer to a body of which `at_once` bytes arrive during the check."""
    is_decided = _held_checks(gateway)
    length = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {size}"
    authorization = f"Authorization: {GOOD['authorization']}"
    head = gateway.gate.head("POST", path, authorization, "Content-Type: application/json", length)
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (size, b"x" * size) if is_chunked else b"x" * size
    with socket.create_connection(("127.0.0.1", gateway.gate.port), timeout=60) as connection:
        connection.sendall(head + body[:_BEFORE])
        until(lambda: gateway.checks.asked, "the check")
        rest = _sent_at_once(connection, gateway.gate.pid, body[_BEFORE : _BEFORE + at_once])
        is_decided.set()
        return _answer_to(connection, rest + body[_BEFORE + at_once :])


@pytest.mark.parametrize("at_once", [33_000, 66_000])
@pytest.mark.parametrize("size", [100_000, 170_000, SMALLEST_BODY_BUFFER, 400_000, 600_000])
@pytest.mark.parametrize("path", ["/time/mcp", "/time/mcp/deep"])
def test_a_body_over_http2_is_read_completely_or_refused(
    gateway: World, path: str, size: int, at_once: int
) -> None:
    is_decided = _held_checks(gateway)
    fields = {":method": "POST", ":path": path, ":scheme": "https", ":authority": gateway.gate.host}
    stream = h2.connection.H2Connection()
    stream.initiate_connection()
    stream.send_headers(1, [*fields.items(), *GOOD.items(), ("content-type", "application/json")])
    left, status = size, ""
    with socket.create_connection(("127.0.0.1", gateway.gate.port), timeout=60) as connection:
        left -= _as_the_window_allows(stream, _BEFORE, left)
        connection.sendall(stream.data_to_send())
        until(lambda: gateway.checks.asked, "the check")
        left -= _as_the_window_allows(stream, at_once, left)
        rest = _sent_at_once(connection, gateway.gate.pid, stream.data_to_send())
        is_decided.set()
        connection.sendall(rest)
        while not status:
            received = connection.recv(65536)
            assert received, "Envoy closed the connection without an answer"
            for event in stream.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    status = dict(event.headers)[b":status"].decode()
            if left and not status:
                left -= _as_the_window_allows(stream, left, left)
            connection.sendall(stream.data_to_send())
    if size > SMALLEST_BODY_BUFFER:
        assert (status, gateway.received) == ("413", [])
    else:
        assert (status, [request.body for request in gateway.received]) == ("200", [b"x" * size])


def _as_the_window_allows(stream: h2.connection.H2Connection, most: int, left: int) -> int:
    """Add DATA to the bytes to send. Return how many bytes of the `left` ones of the body it contains."""
    added = 0
    while piece := min(most - added, left - added, stream.local_flow_control_window(1), 16_384):
        added += piece
        stream.send_data(1, b"x" * piece, end_stream=added == left)
    return added


def _held_checks(gateway: World) -> Event:
    """Make every check wait for the event. Where there are rules, only the check with the whole body then allows.

    Like our own, it refuses the first part of a body.
    """
    gateway.forget()
    is_decided = Event()

    def decide(check: Check) -> CheckResponse:
        assert is_decided.wait(60)
        if check.headers.get(PARTIAL_BODY) == "true":  # Envoy buffers somewhat more than it sends
            return deny(StatusCode.PayloadTooLarge, {})
        return undecided() if check.step == "headers" and check.service == "time" else allow()

    gateway.checks.decide = decide
    return is_decided


def _sent_at_once(connection: socket.socket, envoy: int, data: bytes) -> bytes:
    """Send while Envoy is stopped, so that Envoy reads it all at once.

    Return the bytes that the socket did not accept.
    """
    os.kill(envoy, signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{envoy}/stat")
        until(lambda: stat.read_text().rpartition(")")[2].split()[0] in "tT", "Envoy to stop")
        connection.setblocking(False)
        try:
            while data:
                data = data[connection.send(data) :]
        except BlockingIOError:
            pass
    finally:
        connection.settimeout(60)
        os.kill(envoy, signal.SIGCONT)
    return data


def _answer_to(connection: socket.socket, rest: bytes) -> bytes:
    """Send the rest until Envoy answers. Return the first bytes of the answer."""
    connection.setblocking(False)
    while True:
        readable, _, _ = select.select([connection], [connection] if rest else [], [], 60)
        if readable or not rest:
            connection.settimeout(60)
            return connection.recv(65536)
        rest = rest[connection.send(rest[:65536]) :]
