"""The HTTP/2 implementation with a correct peer: answers, windows, tables, pauses and graceful shutdown."""

from __future__ import annotations

import asyncio
import gc
import itertools
from typing import cast

import hpack
import pytest

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.grpc_services import HEALTH_WATCH
from ext_authz.grpc_http2.limits import LARGEST_FRAME, LARGEST_MESSAGE
from tests.service.transports.wire import BLOCK, HEAD, Frame, Peer, body, call, framed, head, settle

END = http2_codec.END_STREAM


def fields(headers: Frame) -> dict[bytes, bytes]:
    return dict(cast("list[tuple[bytes, bytes]]", hpack.Decoder().decode(headers.payload, raw=True)))


async def test_calls_that_arrive_together_are_answered_in_order_with_few_writes() -> None:
    peer = Peer()
    before = peer.transport.writes
    peer.send(*(call(stream, b"%d" % stream) for stream in range(1, 32, 2)))
    assert peer.transport.writes - before == 4
    assert peer.answers() == {stream: framed(b"now:%d" % stream) for stream in range(1, 32, 2)}


async def test_an_answer_is_headers_a_message_and_the_status() -> None:
    peer = Peer()
    peer.send(call(1, b"ask"))
    begin, message, end = peer.frames()
    assert fields(begin) == {b":status": b"200", b"content-type": b"application/grpc"}
    assert (begin.kind, begin.flags, message.flags) == (http2_codec.HEADERS, http2_codec.END_HEADERS, 0)
    assert fields(end) == {b"grpc-status": b"0"}
    assert (end.kind, end.flags) == (http2_codec.HEADERS, http2_codec.END_HEADERS | END)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 13, 1000])
async def test_the_division_of_bytes_into_reads_does_not_matter(size: int) -> None:
    whole, cut = Peer(), Peer(greet=False)
    data = b"".join(call(stream, b"x" * stream) for stream in range(1, 40, 2))
    whole.send(data)
    everything = http2_codec.PREFACE + http2_codec.settings_frame([]) + data
    for at in range(0, len(everything), size):
        cut.send(everything[at : at + size])
    assert cut.answers() == whole.answers()


async def test_a_waiting_call_is_answered_later_and_delays_no_other() -> None:
    peer = Peer()
    peer.send(call(1, b"later"), call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}
    await settle()
    peer.authorizer.gate.set()
    await settle()
    assert peer.answers() == {1: framed(b"later:later")}


async def test_a_call_is_cancelled_when_it_is_reset_or_its_connection_is_lost() -> None:
    peer = Peer()
    peer.send(call(1, b"later"), call(3, b"later"))
    await settle()
    peer.send(http2_codec.reset(1, http2_codec.CANCEL))
    await settle()
    assert peer.authorizer.cancelled == 1
    peer.connection.connection_lost(None)
    await settle()
    assert peer.authorizer.cancelled == 2
    assert not peer.connections
    assert not peer.answers()


@pytest.mark.parametrize("ending", ["lost", "broken"])
async def test_a_connection_that_ends_leaves_no_reference_cycles(ending: str) -> None:
    """In the service the collector examines only the youngest objects."""

    async def connect() -> None:
        # Of these, one waits for its decision, one for a window for its answer, and one for a change of health.
        peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 20))
        watch = http2_codec.header_block(
            [(name, HEALTH_WATCH if name == b":path" else value) for name, value in HEAD]
        )
        peer.send(call(1, b"later"), call(3, b"x" * 100), head(5, watch), body(5, b""))
        await settle()
        if ending == "broken":
            peer.send(http2_codec.frame(http2_codec.SETTINGS, 0, 1))
        peer.connection.connection_lost(None)
        await settle()
        assert not peer.connections

    await connect()
    gc.collect()
    await connect()
    assert gc.collect() == 0


@pytest.mark.parametrize("message", [b"break", b"later, broken"])
async def test_an_internal_error_ends_only_its_call(message: bytes) -> None:
    peer = Peer()
    peer.send(call(1, message))
    await settle()
    (end,) = peer.frames()
    assert fields(end)[b"grpc-status"] == b"13"
    peer.send(call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}


async def test_indexed_headers_are_read_from_the_current_table() -> None:
    peer, encoder = Peer(), hpack.Encoder()

    def ask(stream: int, path: bytes) -> None:
        block = encoder.encode([(name, path if name == b":path" else value) for name, value in HEAD])
        peer.send(head(stream, block), body(stream, b"ask"))

    check = dict(HEAD)[b":path"]
    for stream in (1, 3, 5):
        ask(stream, check)
    assert set(peer.answers()) == {1, 3, 5}
    # New entries move the old ones: the same bytes would now mean other headers.
    for stream in range(7, 407, 2):
        ask(stream, b"/nowhere/%d" % stream)
    assert not peer.answers()
    ask(501, check)
    assert set(peer.answers()) == {501}


async def test_a_cached_header_block_is_not_used_after_a_change_of_the_table() -> None:
    peer = Peer()
    # Entry 62 is the last one added: first a path that is a Check, then one that is not.
    known = http2_codec.header_block([field for field in HEAD if field[0] != b":path"])
    by_reference = bytes([0x80 | 62])

    def adding(path: bytes) -> bytes:
        return b"\x44" + bytes([len(path)]) + path

    peer.send(head(1, adding(dict(HEAD)[b":path"]) + known), body(1, b"1"))
    peer.send(head(3, by_reference + known), body(3, b"3"), head(5, by_reference + known), body(5, b"5"))
    assert set(peer.answers()) == {1, 3, 5}
    peer.send(head(7, adding(b"/other") + known), body(7, b"7"))
    peer.send(head(9, by_reference + known), body(9, b"9"))
    assert not peer.answers()
    assert peer.authorizer.asked == [b"1", b"3", b"5"]


async def test_a_block_that_resizes_the_table_resizes_it_each_time() -> None:
    peer = Peer()
    resized = b"\x20" + BLOCK  # to zero
    for stream in (1, 3):
        peer.send(head(stream, resized), body(stream, b"ask"))
    entry = b"\x40\x01a\x01b"
    peer.send(head(5, b"\x3f\xe1\x1f" + BLOCK + entry), body(5, b"ask"))  # to 4,096, with one entry
    peer.send(head(7, resized), body(7, b"ask"), head(9, BLOCK + b"\xbe"))
    assert set(peer.answers()) == {1, 3, 5, 7}
    assert peer.transport.is_closed, "the last resize evicted entry 62"


async def test_an_unknown_method_is_refused_at_its_headers_each_time() -> None:
    peer = Peer()
    nowhere = http2_codec.header_block(
        [(name, b"/nowhere" if name == b":path" else value) for name, value in HEAD]
    )
    for stream in (1, 3, 5):
        peer.send(head(stream, nowhere))
        end, _ = peer.frames()
        assert fields(end)[b"grpc-status"] == b"12"


async def test_padding_priorities_and_continuations_are_read() -> None:
    peer = Peer()
    padded = http2_codec.frame(
        http2_codec.HEADERS,
        http2_codec.PADDED | http2_codec.HAS_PRIORITY,
        1,
        b"\x03" + b"\0\0\0\0\x10" + BLOCK[:20] + b"\0\0\0",
    )
    rest = http2_codec.frame(http2_codec.CONTINUATION, 0, 1, BLOCK[20:40])
    last = http2_codec.frame(http2_codec.CONTINUATION, http2_codec.END_HEADERS, 1, BLOCK[40:])
    data = http2_codec.frame(http2_codec.DATA, http2_codec.PADDED | END, 1, b"\x02" + framed(b"ask") + b"\0\0")
    peer.send(padded, rest, last, data)
    assert peer.answers() == {1: framed(b"now:ask")}


@pytest.mark.requirement("rfc9113:flow-control", "rfc9113:window-changes")
async def test_answers_wait_for_window_space_and_are_sent_in_pieces() -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 10))
    peer.send(call(1, b"x" * 30))  # 39 bytes with prefix and "now:"
    assert peer.answers()[1] == framed(b"now:" + b"x" * 30)[:10]
    peer.send(http2_codec.window_update(9, 1))
    assert len(peer.answers()[1]) == 9
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 15)]))
    assert len(peer.answers()[1]) == 5
    peer.send(http2_codec.window_update(1000, 1))
    frames = peer.frames()
    assert [frame.kind for frame in frames] == [http2_codec.DATA, http2_codec.HEADERS]
    assert (len(frames[0].payload), frames[1].flags & END) == (15, END)


@pytest.mark.requirement("rfc9113:window-negative")
async def test_a_window_may_be_negative_for_a_while() -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 10))
    peer.send(call(1, b"x" * 30), http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 0)]))
    assert len(peer.answers()[1]) == 10
    peer.send(http2_codec.window_update(10, 1))
    assert not peer.answers()
    peer.send(http2_codec.window_update(3, 1))
    assert len(peer.answers()[1]) == 3


@pytest.mark.requirement("rfc9113:flow-control", "rfc9113:read-promptly")
async def test_the_connection_has_a_window_too() -> None:
    peer = Peer()
    message = b"x" * 10_000
    for stream in range(1, 15, 2):
        peer.send(call(stream, message))
    await settle()
    size = len(framed(b"now:" + message))
    assert sum(map(len, peer.answers().values())) == http2_codec.DEFAULT_WINDOW
    peer.send(http2_codec.window_update(10 * size))
    assert sum(map(len, peer.answers().values())) == 7 * size - http2_codec.DEFAULT_WINDOW
    peer.send(call(15, b"ask"))
    assert peer.answers() == {15: framed(b"now:ask")}


async def test_small_messages_do_not_wait_for_large_ones() -> None:
    peer = Peer()
    large = [call(stream, b"x" * 10_000) for stream in range(1, 21, 2)]
    peer.send(http2_codec.window_update(10_000_000), *large, call(21, b"ask"))
    assert set(peer.answers()) == {21}
    order: list[int] = []
    for stream in range(23, 223, 2):
        await asyncio.sleep(0)
        peer.send(call(stream, b"ask"))
        order += [answered for answered in peer.answers() if answered < 23 or answered == stream]
    # One at a time, and between two of them the small ones of several rounds.
    places = [order.index(stream) for stream in range(1, 21, 2)]
    assert all(later - earlier > 2 for earlier, later in itertools.pairwise(places))
    assert {*range(23, 223, 2)} <= {*order}


async def test_the_number_of_waiting_large_messages_is_limited() -> None:
    peer = Peer()
    for stream in range(1, 601, 2):
        peer.send(call(stream, b"x" * 10_000))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    refused = [frame for frame in peer.frames() if frame.kind == http2_codec.HEADERS and frame.flags & END]
    assert len([frame for frame in refused if fields(frame).get(b"grpc-status") == b"8"]) == 300 - 256


@pytest.mark.requirement("rfc9113:frame-size")
async def test_an_answer_larger_than_a_frame_is_sent_in_several() -> None:
    peer = Peer()
    data = framed(b"x" * 40_000)
    parts = [data[at : at + LARGEST_FRAME] for at in range(0, len(data), LARGEST_FRAME)]
    peer.send(
        head(1),
        *(http2_codec.frame(http2_codec.DATA, 0, 1, part) for part in parts),
        http2_codec.frame(http2_codec.DATA, END, 1),
    )
    await settle()
    sizes = [len(frame.payload) for frame in peer.frames() if frame.kind == http2_codec.DATA]
    assert (sum(sizes), max(sizes)) == (40_009, LARGEST_FRAME)


async def test_the_receive_window_is_restored_as_data_arrives() -> None:
    peer = Peer()
    given = 0
    for stream in range(1, 2000, 2):
        peer.send(call(stream, b"x" * 10_000))
        peer.send(http2_codec.window_update(20_000))
        given += sum(http2_codec.number(f.payload) for f in peer.frames() if f.kind == http2_codec.WINDOW_UPDATE)
    # All except what fits the half of a window that is never used up.
    assert 10_005_000 - 2 * 1024 * 1024 <= given <= 10_005_000


@pytest.mark.requirement("rfc9113:concurrency", "rfc9113:refused-means-untouched")
async def test_calls_are_answered_up_to_the_limit_of_streams_and_refused_beyond_it() -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 0))
    peer.send(*(call(stream, b"ask") for stream in range(1, 2049, 2)))
    peer.frames()
    peer.send(call(2049, b"ask"))
    (refusal,) = peer.frames()
    assert (refusal.kind, http2_codec.number(refusal.payload)) == (
        http2_codec.RST_STREAM,
        http2_codec.REFUSED_STREAM,
    )
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 100)]), call(2051, b"ask"))
    assert len(peer.answers()) == 1025


@pytest.mark.parametrize("message", [b"ask", b"later", b""], ids=["answered", "waiting", "unfinished"])
async def test_a_cancelled_stream_leaves_no_state(message: bytes) -> None:
    peer = Peer((http2_codec.INITIAL_WINDOW_SIZE, 0))
    for stream in range(1, 4001, 2):
        whole = (
            call(stream, message)
            if message
            else head(stream) + http2_codec.frame(http2_codec.DATA, 0, stream, b"\0\0")
        )
        peer.send(whole, http2_codec.window_update(3, stream), http2_codec.reset(stream, http2_codec.CANCEL))
    await settle()
    streams, outgoing = peer.connection._streams, peer.connection._outgoing
    assert streams.is_idle
    assert (outgoing.held, outgoing._moved, streams._buffered, streams._ended_early) == ({}, {}, 0, {})
    peer.frames()
    peer.send(http2_codec.settings_frame([(http2_codec.INITIAL_WINDOW_SIZE, 100)]), call(4001, b"ask"))
    assert peer.answers() == {4001: framed(b"now:ask")}


async def test_reading_is_paused_while_a_peer_does_not_read() -> None:
    peer = Peer()
    peer.connection.pause_writing()
    assert peer.transport.is_paused
    peer.connection.resume_writing()
    assert not peer.transport.is_paused


async def test_unfinished_messages_have_a_limit_of_memory() -> None:
    peer = Peer()
    piece = http2_codec.frame(http2_codec.DATA, 0, 0, b"\0" + LARGEST_MESSAGE.to_bytes(4, "big") + b"x" * 16_000)
    for stream in range(1, 2001, 2):
        peer.send(head(stream), piece[:5] + stream.to_bytes(4, "big") + piece[9:])
    ends = [frame for frame in peer.frames() if frame.kind == http2_codec.HEADERS]
    assert len(ends) == 1000 - 8 * LARGEST_MESSAGE // 16_005
    assert fields(ends[0])[b"grpc-status"] == b"8"


async def test_a_graceful_shutdown_answers_calls_that_were_sent_before_it_was_known() -> None:
    peer = Peer()
    peer.send(call(1, b"later"))
    await settle()
    peer.connection.start_drain()
    goaway, ping = peer.frames()
    assert (goaway.kind, http2_codec.number(goaway.payload)) == (http2_codec.GOAWAY, http2_codec.LAST_STREAM)
    peer.send(call(3, b"ask"))
    assert peer.answers() == {3: framed(b"now:ask")}
    peer.send(http2_codec.frame(http2_codec.PING, http2_codec.ACK, 0, ping.payload))
    (goaway,) = peer.frames()
    assert (http2_codec.number(goaway.payload), http2_codec.number(goaway.payload[4:])) == (
        3,
        http2_codec.NO_ERROR,
    )
    peer.send(call(5, b"ask"))
    (refusal,) = peer.frames()
    assert http2_codec.number(refusal.payload) == http2_codec.REFUSED_STREAM
    assert not peer.transport.is_closed
    peer.authorizer.gate.set()
    await settle()
    assert peer.answers() == {1: framed(b"later:later")}
    await asyncio.wait_for(peer.transport.closed.wait(), 60)


async def test_a_call_that_does_not_arrive_is_ended_and_one_in_progress_is_not() -> None:
    peer = Peer()
    peer.send(head(1), head(3), http2_codec.frame(http2_codec.DATA, 0, 3, framed(b"half")[:6]), call(5, b"later"))
    await settle()
    peer.connection.sweep()
    assert not peer.frames()
    peer.send(head(7))
    peer.connection.sweep()
    ended = {frame.stream for frame in peer.frames()}
    assert ended == {1, 3}
    peer.send(body(1, b"ask"), body(7, b"ask"))
    assert peer.answers() == {7: framed(b"now:ask")}


async def test_a_peer_that_sends_nothing_is_disconnected() -> None:
    peer = Peer(greet=False)
    peer.send(http2_codec.PREFACE[:10])
    peer.connection.sweep()
    assert not peer.transport.is_closed
    peer.connection.sweep()
    assert peer.transport.is_closed
