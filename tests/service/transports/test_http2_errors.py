"""The HTTP/2 implementation with a peer that breaks the protocol: only the stream or the connection ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import h2.config
import h2.connection
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.grpc_http2 import http2_codec
from tests.service.transports.wire import BLOCK, HEAD, Peer, body, call, framed, head, settle
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from collections.abc import Callable

END, FULL = http2_codec.END_STREAM, http2_codec.END_HEADERS
NUMBER = (1).to_bytes(4, "big")


def with_field(name: bytes, value: bytes) -> bytes:
    return head(1, BLOCK + http2_codec.header_block([(name, value)])) + body(1, b"ask")


def without(*names: bytes) -> bytes:
    return head(1, http2_codec.header_block([field for field in HEAD if field[0] not in names])) + body(1, b"ask")


frame = http2_codec.frame
BREAKS_THE_CONNECTION = {
    "a frame larger than allowed": (frame(http2_codec.DATA, 0, 1, b"x" * 16_385), http2_codec.FRAME_SIZE_ERROR),
    "only the head of one": (b"\xff\xff\xff\0\0\0\0\0\1", http2_codec.FRAME_SIZE_ERROR),
    "an even stream": (head(2), http2_codec.PROTOCOL_ERROR),
    "headers of no stream": (head(0), http2_codec.PROTOCOL_ERROR),
    "a stream that is over": (call(1, b"a") + call(1, b"a"), http2_codec.STREAM_CLOSED),
    "a stream below the last": (call(5, b"a") + call(3, b"a"), http2_codec.STREAM_CLOSED),
    "data of no stream": (body(0, b"a"), http2_codec.PROTOCOL_ERROR),
    "data of a stream to come": (body(7, b"a"), http2_codec.PROTOCOL_ERROR),
    "all padding": (
        head(1) + frame(http2_codec.DATA, http2_codec.PADDED, 1, b"\x05abc"),
        http2_codec.PROTOCOL_ERROR,
    ),
    "padding of nothing": (head(1) + frame(http2_codec.DATA, http2_codec.PADDED, 1), http2_codec.FRAME_SIZE_ERROR),
    "a push": (frame(http2_codec.PUSH_PROMISE, FULL, 1, b"\0\0\0\2" + BLOCK), http2_codec.PROTOCOL_ERROR),
    "a reset of no stream": (frame(http2_codec.RST_STREAM, 0, 0, NUMBER), http2_codec.PROTOCOL_ERROR),
    "a reset of a stream to come": (frame(http2_codec.RST_STREAM, 0, 9, NUMBER), http2_codec.PROTOCOL_ERROR),
    "a short reset": (head(1) + frame(http2_codec.RST_STREAM, 0, 1, b"abc"), http2_codec.FRAME_SIZE_ERROR),
    "a priority of no stream": (frame(http2_codec.PRIORITY, 0, 0, b"\0\0\0\1\0"), http2_codec.PROTOCOL_ERROR),
    "settings of a stream": (frame(http2_codec.SETTINGS, 0, 1), http2_codec.PROTOCOL_ERROR),
    "settings cut short": (frame(http2_codec.SETTINGS, 0, 0, b"abc"), http2_codec.FRAME_SIZE_ERROR),
    "an acknowledgement with more": (
        frame(http2_codec.SETTINGS, http2_codec.ACK, 0, b"\0" * 6),
        http2_codec.FRAME_SIZE_ERROR,
    ),
    "a push setting": (http2_codec.settings_frame([(http2_codec.ENABLE_PUSH, 2)]), http2_codec.PROTOCOL_ERROR),
    "a window too large": (
        http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 2**31)]),
        http2_codec.FLOW_CONTROL_ERROR,
    ),
    "frames too small": (
        http2_codec.settings_frame([(http2_codec.MAX_FRAME_SIZE, 100)]),
        http2_codec.PROTOCOL_ERROR,
    ),
    "a ping of a stream": (frame(http2_codec.PING, 0, 1, b"\0" * 8), http2_codec.PROTOCOL_ERROR),
    "a short ping": (frame(http2_codec.PING, 0, 0, b"\0" * 7), http2_codec.FRAME_SIZE_ERROR),
    "a short parting": (frame(http2_codec.GOAWAY, 0, 0, b"\0"), http2_codec.FRAME_SIZE_ERROR),
    "a parting of a stream": (frame(http2_codec.GOAWAY, 0, 1, b"\0" * 8), http2_codec.PROTOCOL_ERROR),
    "no room": (http2_codec.window_update(0), http2_codec.PROTOCOL_ERROR),
    "too much room": (http2_codec.window_update(2**31 - 1), http2_codec.FLOW_CONTROL_ERROR),
    "room for a stream to come": (http2_codec.window_update(1, 9), http2_codec.PROTOCOL_ERROR),
    "a short room": (frame(http2_codec.WINDOW_UPDATE, 0, 0, b"abc"), http2_codec.FRAME_SIZE_ERROR),
    "a continuation of nothing": (frame(http2_codec.CONTINUATION, FULL, 1, BLOCK), http2_codec.PROTOCOL_ERROR),
    "something in between": (
        head(1, BLOCK, 0) + frame(http2_codec.PING, 0, 0, b"\0" * 8),
        http2_codec.PROTOCOL_ERROR,
    ),
    "another's continuation": (
        head(1, BLOCK, 0) + frame(http2_codec.CONTINUATION, FULL, 3, BLOCK),
        http2_codec.PROTOCOL_ERROR,
    ),
    "a call in between": (call(1, b"a") + head(3, BLOCK, 0) + call(5, b"a"), http2_codec.PROTOCOL_ERROR),
    "continuations of nothing": (
        head(1, BLOCK, 0) + frame(http2_codec.CONTINUATION, 0, 1) * 2,
        http2_codec.ENHANCE_YOUR_CALM,
    ),
    "continuations without end": (
        head(1, BLOCK, 0) + frame(http2_codec.CONTINUATION, 0, 1, b"x" * 16_000) * 3,
        http2_codec.ENHANCE_YOUR_CALM,
    ),
    "an unknown entry": (head(1, b"\xff\x80\x01"), http2_codec.COMPRESSION_ERROR),
    "a block cut short": (head(1, BLOCK[:-3]), http2_codec.COMPRESSION_ERROR),
    "a table too large": (head(1, b"\x3f\xff\xff\x03" + BLOCK), http2_codec.COMPRESSION_ERROR),
    "a bomb of references": (
        head(1, b"\x40\x01a\x7f\x81\x1f" + b"x" * 4096 + b"\xbe" * 200),
        http2_codec.COMPRESSION_ERROR,
    ),
}


@pytest.mark.requirement(
    "rfc9113:frame-size-error",
    "rfc9113:contiguous",
    "rfc9113:compression-error",
    "rfc9113:idle",
    "rfc9113:closed",
    "rfc9113:stream-identifiers",
    "rfc9113:one-error",
    "rfc9113:closes-after-goaway",
    "rfc9113:data-without-stream",
    "rfc9113:padding",
    "rfc9113:headers-without-stream",
    "rfc9113:priority-without-stream",
    "rfc9113:reset-without-stream",
    "rfc9113:reset-size",
    "rfc9113:settings-ack-size",
    "rfc9113:settings-of-a-stream",
    "rfc9113:settings-size",
    "rfc9113:settings-push",
    "rfc9113:settings-window",
    "rfc9113:settings-frame-size",
    "rfc9113:push",
    "rfc9113:ping-of-a-stream",
    "rfc9113:ping-size",
    "rfc9113:goaway-of-a-stream",
    "rfc9113:window-zero",
    "rfc9113:window-size",
    "rfc9113:window-overflow",
    "rfc9113:continuation",
)
@pytest.mark.parametrize(("data", "code"), BREAKS_THE_CONNECTION.values(), ids=BREAKS_THE_CONNECTION.keys())
async def test_the_connection_ends(data: bytes, code: int) -> None:
    peer = Peer()
    peer.send(data)
    assert peer.ended_with == code
    # It processes no more frames.
    asked = len(peer.authorizer.asked)
    peer.send(call(101, b"more"))
    assert len(peer.authorizer.asked) == asked
    assert not peer.frames()


BREAKS_THE_STREAM = {
    "a name in capitals": (with_field(b"X-Big", b"1"), http2_codec.PROTOCOL_ERROR),
    "a field of the connection": (with_field(b"connection", b"close"), http2_codec.PROTOCOL_ERROR),
    "another te": (with_field(b"te", b"gzip"), http2_codec.PROTOCOL_ERROR),
    "a pseudo-header at the end": (with_field(b":path", b"/"), http2_codec.PROTOCOL_ERROR),
    "a response's": (
        head(1, http2_codec.header_block([(b":status", b"200"), *HEAD])) + body(1, b"ask"),
        http2_codec.PROTOCOL_ERROR,
    ),
    "twice the path": (
        head(1, http2_codec.header_block([(b":path", b"/"), *HEAD])) + body(1, b"ask"),
        http2_codec.PROTOCOL_ERROR,
    ),
    "no path": (without(b":path"), http2_codec.PROTOCOL_ERROR),
    "no method": (without(b":method"), http2_codec.PROTOCOL_ERROR),
    "no scheme": (without(b":scheme"), http2_codec.PROTOCOL_ERROR),
    "a length that is none": (with_field(b"content-length", b"-1"), http2_codec.PROTOCOL_ERROR),
    "another length": (with_field(b"content-length", b"7"), http2_codec.PROTOCOL_ERROR),
    "headers between data": (
        head(1)
        + frame(http2_codec.DATA, 0, 1, framed(b"ask"))
        + head(1, http2_codec.header_block([(b"a", b"b")])),
        http2_codec.PROTOCOL_ERROR,
    ),
    "no room": (head(1) + http2_codec.window_update(0, 1), http2_codec.PROTOCOL_ERROR),
    "too much room": (head(1) + http2_codec.window_update(2**31 - 1, 1), http2_codec.FLOW_CONTROL_ERROR),
    "a priority of itself": (
        head(1) + frame(http2_codec.PRIORITY, 0, 1, b"\0\0\0\1\0"),
        http2_codec.PROTOCOL_ERROR,
    ),
    "a short priority": (head(1) + frame(http2_codec.PRIORITY, 0, 1, b"\0"), http2_codec.FRAME_SIZE_ERROR),
    "data after the end": (call(1, b"later") + body(1, b"more"), http2_codec.STREAM_CLOSED),
    "headers after the end": (call(1, b"later") + head(1), http2_codec.STREAM_CLOSED),
}


@pytest.mark.requirement(
    "rfc9113:half-closed",
    "rfc9113:priority-size",
    "rfc9113:window-zero",
    "rfc9113:window-overflow",
    "rfc9113:headers-again",
    "rfc9113:malformed",
    "rfc9113:content-length",
    "rfc9113:connection-fields",
    "rfc9113:pseudo-headers",
    "rfc9113:required",
    "rfc9113:path",
)
@pytest.mark.parametrize(("data", "code"), BREAKS_THE_STREAM.values(), ids=BREAKS_THE_STREAM.keys())
async def test_the_stream_ends_and_the_next_one_does_not(data: bytes, code: int) -> None:
    peer = Peer()
    peer.send(data)
    resets = [(f.stream, http2_codec.number(f.payload)) for f in peer.frames() if f.kind == http2_codec.RST_STREAM]
    assert resets == [(1, code)]
    assert not peer.authorizer.asked or peer.authorizer.asked == [b"later"]
    peer.send(call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:preface-bad")
@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nXX", b"\x16\x03\x01\x02\x00\x01\x00"]
)
async def test_a_peer_that_does_not_speak_http2_is_disconnected(data: bytes) -> None:
    peer = Peer(greet=False)
    peer.send(data)
    assert peer.transport.is_closed


@pytest.mark.requirement("rfc9113:preface-bad")
async def test_the_first_frame_must_be_settings() -> None:
    peer = Peer(greet=False)
    peer.send(http2_codec.PREFACE, call(1, b"ask"))
    assert peer.transport.is_closed
    assert not peer.authorizer.asked


@pytest.mark.requirement("rfc9113:unknown-kinds")
async def test_frames_of_unknown_types_are_ignored() -> None:
    peer = Peer()
    peer.send(frame(0xFA, 0xFF, 0, b"whatever"), frame(0x10, 0, 7, b"\0\0\0\1u=1"), call(1, b"ask"))
    assert peer.answers() == {1: framed(b"now:ask")}


PIECES: list[Callable[[int], bytes]] = [
    lambda stream: call(stream, b"ask"),
    lambda stream: call(stream, b"later"),
    head,
    lambda stream: body(stream, b"ask"),
    lambda stream: frame(http2_codec.DATA, 0, stream, framed(b"as")[:6]),
    lambda stream: frame(http2_codec.DATA, END, stream),
    lambda stream: head(stream, BLOCK, FULL | END),
    lambda stream: head(stream, BLOCK[:30], 0) + frame(http2_codec.CONTINUATION, FULL, stream, BLOCK[30:]),
    lambda stream: head(stream, b"\x40\x02ab\x02cd" + BLOCK),
    lambda stream: head(stream, BLOCK + b"\xbe"),
    lambda stream: http2_codec.reset(stream, http2_codec.CANCEL),
    lambda stream: http2_codec.window_update(1 + stream, stream),
    lambda stream: http2_codec.window_update(1 + stream),
    lambda stream: http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, stream)]),
    lambda _: frame(http2_codec.PING, 0, 0, b"12345678"),
    lambda stream: frame(http2_codec.PRIORITY, 0, stream, b"\0\0\0\0\1"),
    lambda _: frame(http2_codec.GOAWAY, 0, 0, b"\0" * 8),
    lambda stream: bytes([stream]) * stream,
]


@examples(300)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(PIECES), st.integers(0, 12)), max_size=30),
    cut=st.integers(1, 200),
)
async def test_the_sent_frames_are_valid_http2_for_any_received_frames(
    pieces: list[tuple[Callable[[int], bytes], int]], cut: int
) -> None:
    peer = Peer(greet=False)
    opening = peer.transport.written
    data = (
        http2_codec.PREFACE + http2_codec.settings_frame([]) + b"".join(piece(stream) for piece, stream in pieces)
    )
    for at in range(0, len(data), cut):
        peer.send(data[at : at + cut])
    # A client that has opened all streams reads it, and finds nothing that a server may not send.
    client = h2.connection.H2Connection(h2.config.H2Configuration(validate_inbound_headers=True))
    client.initiate_connection()
    client.increment_flow_control_window(10_000_000)
    for stream in range(1, 13, 2):
        client.send_headers(stream, [(name.decode(), value.decode()) for name, value in HEAD])
    client.receive_data(opening)
    for got in peer.frames():
        if got.kind in {
            http2_codec.HEADERS,
            http2_codec.DATA,
            http2_codec.GOAWAY,
            http2_codec.WINDOW_UPDATE,
            http2_codec.RST_STREAM,
        }:
            client.receive_data(http2_codec.frame(got.kind, got.flags, got.stream, got.payload))
    assert peer.transport.is_closed or peer.connections
    peer.connection.connection_lost(None)
    await settle()
