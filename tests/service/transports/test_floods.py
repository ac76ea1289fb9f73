"""Floods of frames that are not calls: their work is bounded, and calls are never counted among them."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.control_budget import ControlBudget
from ext_authz.grpc_http2.limits import BURST, LOOKS, RATE
from tests.service.transports.wire import BLOCK, Clock, Peer, body, call, framed, head, settle
from tests.support.check_messages import check_request, read_answer
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.authz_process import AuthzProcess

frame, END, FULL = http2_codec.frame, http2_codec.END_STREAM, http2_codec.END_HEADERS
FLOODS: dict[str, Callable[[int], bytes]] = {
    "pings": lambda _: frame(http2_codec.PING, 0, 0, b"12345678"),
    "answers to pings": lambda _: frame(http2_codec.PING, http2_codec.ACK, 0, b"12345678"),
    "settings": lambda _: http2_codec.settings_frame([]),
    "sizes of the table": lambda n: http2_codec.settings_frame([(http2_codec.HEADER_TABLE_SIZE, n % 5000)]),
    "acknowledgements": lambda _: frame(http2_codec.SETTINGS, http2_codec.ACK, 0),
    "priorities": lambda n: frame(http2_codec.PRIORITY, 0, 2 * n + 1, b"\0\0\0\0\1"),
    "room for the connection": lambda _: http2_codec.window_update(1),
    "room for a stream that is over": lambda _: http2_codec.window_update(1, 1),
    "partings": lambda _: frame(http2_codec.GOAWAY, 0, 0, b"\0" * 8),
    "frames of unknown kinds": lambda _: frame(0xFA, 0, 0),
    "data without data": lambda n: (head(3) if n == 0 else b"") + frame(http2_codec.DATA, 0, 3),
    "calls begun and given up": lambda n: head(2 * n + 3) + http2_codec.reset(2 * n + 3, http2_codec.CANCEL),
    "calls that we must reset": lambda n: head(2 * n + 3) + http2_codec.window_update(0, 2 * n + 3),
    "resets of one stream": lambda _: http2_codec.reset(1, http2_codec.CANCEL),
    "one byte at a time of a header block": lambda n: (
        head(3, BLOCK, 0) if n == 0 else frame(http2_codec.CONTINUATION, 0, 3, b"\0")
    ),
}


@pytest.mark.requirement("rfc9113:floods")
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
async def test_a_flood_ends_its_connection(flood: Callable[[int], bytes]) -> None:
    peer = Peer()
    peer.send(call(1, b"ask"))
    sent = 0
    while not peer.transport.is_closed and sent < 2 * BURST:
        peer.send(*(flood(number) for number in range(sent, sent + 100)))
        sent += 100
    assert peer.ended_with == http2_codec.ENHANCE_YOUR_CALM


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
async def test_a_few_of_the_same_frames_do_not_end_the_connection(flood: Callable[[int], bytes]) -> None:
    peer = Peer()
    peer.send(call(1, b"ask"))
    peer.send(*(flood(number) for number in range(100)))
    assert not peer.transport.is_closed


async def test_the_budget_is_restored_with_time() -> None:
    peer = Peer()
    ping = frame(http2_codec.PING, 0, 0, b"12345678")
    for _ in range(5):
        peer.send(ping * (BURST - 10))
        assert not peer.transport.is_closed
        peer.clock.now += BURST / RATE
    peer.send(ping * (2 * BURST))
    assert peer.ended_with == http2_codec.ENHANCE_YOUR_CALM


async def test_a_client_that_makes_calls_may_send_control_frames_with_each() -> None:
    peer = Peer()
    for stream in range(1, 2 * BURST, 2):
        peer.send(call(stream, b"ask"), http2_codec.window_update(20), frame(http2_codec.PING, 0, 0, b"12345678"))
        peer.frames()
    assert not peer.transport.is_closed
    assert len(peer.authorizer.asked) == BURST


async def test_skipped_stream_numbers_give_no_budget() -> None:
    peer = Peer()
    ping = frame(http2_codec.PING, 0, 0, b"12345678")
    for stream in (1, 20_001, 40_001):
        peer.send(call(stream, b"ask"), ping * (BURST - 10))
        if peer.transport.is_closed:
            break
    assert peer.ended_with == http2_codec.ENHANCE_YOUR_CALM


async def test_complete_calls_may_all_be_cancelled() -> None:
    """An outsider can make Envoy send such calls; to close Envoy's connection would refuse other callers."""
    peer = Peer()
    for stream in range(1, 2 * BURST, 2):
        peer.send(call(stream, b"later"), http2_codec.reset(stream, http2_codec.CANCEL))
    await settle()
    assert not peer.transport.is_closed


def scanned(peer: Peer) -> Callable[[], int]:
    """Count how often waiting answers are scanned."""
    outgoing, count = peer.connection._outgoing, 0
    original = outgoing._pump

    def pump(*arguments: object) -> bool:
        nonlocal count
        count += 1
        return original(*arguments)  # type: ignore[arg-type]

    outgoing._pump = pump  # type: ignore[method-assign, assignment]
    return lambda: count


async def test_a_frame_with_many_window_sizes_scans_waiting_answers_once() -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 0))
    peer.send(*(call(stream, b"ask") for stream in range(1, 2001, 2)))
    looks = scanned(peer)
    values = [(http2_codec.INITIAL_WINDOW_SIZE, number % 2) for number in range(2729)]
    peer.send(http2_codec.settings_frame([*values, (http2_codec.INITIAL_WINDOW_SIZE, 2)]))
    assert looks() == 1000
    assert sum(map(len, peer.answers().values())) == 2000


@pytest.mark.parametrize(
    "flood",
    [
        http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 0)])
        + http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 1)]),
        http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, n % 2) for n in range(2730)]),
        http2_codec.window_update(1),
    ],
    ids=["window sizes", "frames full of window sizes", "window updates for the connection"],
)
async def test_frames_that_scan_waiting_answers_cost_budget_accordingly(flood: bytes) -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 0))
    # Every answer waits: its stream has used its window of one byte.
    peer.send(*(call(stream, b"ask") for stream in range(1, 2001, 2)))
    peer.send(*(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, size)]) for size in (1, 0)))
    looks = scanned(peer)
    for _ in range(BURST):
        peer.send(flood)
        if peer.transport.is_closed:
            break
    assert peer.ended_with == http2_codec.ENHANCE_YOUR_CALM
    assert looks() <= 2 * LOOKS * BURST


async def test_the_peer_may_connect_again_after_a_flood() -> None:
    for _ in range(2):
        peer = Peer()
        peer.send(call(1, b"ask"))
        assert peer.answers() == {1: framed(b"now:ask")}
        peer.send(frame(http2_codec.PING, 0, 0, b"12345678") * (2 * BURST))
        assert peer.ended_with == http2_codec.ENHANCE_YOUR_CALM


def test_a_flooding_connection_is_closed_and_others_are_answered(authz: AuthzProcess, transport: str) -> None:
    if transport == "grpcio":
        pytest.skip("gRPC's own server has limits of its own")
    values = http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, number % 2) for number in range(2730)])
    for flood in (values, frame(http2_codec.PING, 0, 0, b"12345678") * 500):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(60)
            peer.connect(authz.address.removeprefix("unix:"))
            peer.sendall(http2_codec.PREFACE + http2_codec.settings_frame([]))
            got = b""
            with contextlib.suppress(ConnectionError):
                for _ in range(1000):
                    peer.sendall(flood)
                    got = (got + peer.recv(65_536))[-17:]
            with contextlib.suppress(ConnectionError):
                while data := peer.recv(65_536):
                    got = (got + data)[-17:]
        # the socket may be reset by the rest of a flood before it is read
        if got[3:4] == bytes((http2_codec.GOAWAY,)):
            assert http2_codec.number(got[13:]) == http2_codec.ENHANCE_YOUR_CALM
        assert read_answer(authz.check(check_request())).status == 401
    until(lambda: '"event": "connection.flooded"' in authz.log_text())


def test_a_budget_never_exceeds_two_bursts() -> None:
    clock = Clock()
    budget = ControlBudget(clock)
    clock.now += 1e6
    spent = 0
    with contextlib.suppress(http2_codec.ProtocolError):
        while spent < 3 * BURST:
            budget.spend(1, calls=10**6)
            spent += 1
    assert BURST < spent <= 2 * BURST + 1


async def test_settings_beside_incomplete_calls_cost_no_more_than_their_share() -> None:
    peer = Peer()
    peer.send(
        *(head(stream) for stream in range(1, 2001, 2)),
        http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 9)]),
    )
    peer.send(*(body(stream, b"ask") for stream in range(1, 2001, 2)))
    assert len(peer.answers()) == 1000
