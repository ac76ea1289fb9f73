"""Streams of messages on our own HTTP/2: how they are divided, their room, their ends, and what they hold."""

from __future__ import annotations

import asyncio
import gc
import json
from typing import Any

import hpack
import pytest

from ext_authz.answers.limits import LARGE, MOST_BYTES_OF_ONE, MOST_OPEN_OF_ONE
from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.limits import LARGEST_FRAME, LARGEST_MESSAGE, STREAM_WINDOW
from tests.service.transports.answer_messages import (
    LIST,
    OPENING,
    SEEN,
    answer_filter,
    body_of,
    headers,
    part,
    read,
    trailers,
)
from tests.service.transports.wire import Frame, Peer, framed, head, settle

END = http2_codec.END_STREAM


def data(stream: int, content: bytes, flags: int = 0) -> bytes:
    """DATA frames with this content."""
    pieces = [content[at : at + LARGEST_FRAME] for at in range(0, len(content), LARGEST_FRAME)] or [b""]
    *first, last = pieces
    return b"".join(
        (
            *(http2_codec.frame(http2_codec.DATA, 0, stream, piece) for piece in first),
            http2_codec.frame(http2_codec.DATA, flags, stream, last),
        )
    )


def messages(*found: bytes) -> bytes:
    return b"".join(map(framed, found))


def status_of(frames: list[Frame]) -> str | None:
    """The gRPC status that ends a stream, if one does."""
    decoder = hpack.Decoder()
    for frame in frames:
        if frame.kind == http2_codec.HEADERS:
            fields: dict[Any, Any] = dict(decoder.decode(frame.payload))
            if "grpc-status" in fields:
                return str(fields["grpc-status"])
    return None


def room_in(frames: list[Frame]) -> int | None:
    """The room that the first stream gets in these frames, if any."""
    found = [frame for frame in frames if frame.kind == http2_codec.WINDOW_UPDATE and frame.stream == 1]
    return http2_codec.number(found[0].payload) if found else None


def opened(**settings: Any) -> Peer:
    return Peer(answers=answer_filter(), **settings)


def answers(peer: Peer, stream: int = 1) -> list[Any]:
    return read(peer.answers().get(stream, b""))


@pytest.mark.parametrize("size", [1, 3, 5, 9, 64, 10_000])
async def test_messages_may_be_divided_into_frames_in_any_way(size: int) -> None:
    peer = opened()
    content = messages(headers(), part(LIST[:10]), part(LIST[10:], is_last=True))
    peer.send(head(1, OPENING))
    for at in range(0, len(content), size):
        peer.send(data(1, content[at : at + size]))
    found = answers(peer)
    assert found[0].WhichOneof("response") == "response_headers"
    text, ended = body_of(found)
    assert (json.loads(text), ended) == (json.loads(SEEN), True)


async def test_the_headers_of_a_list_wait_until_all_of_it_is_good() -> None:
    peer = opened()
    peer.send(head(1, OPENING), data(1, messages(headers(), part(LIST))))
    assert answers(peer) == []
    peer.send(data(1, messages(part(b"", is_last=True))))
    assert [one.WhichOneof("response") for one in answers(peer)] == ["response_headers", "response_body"]


async def test_trailers_end_a_list_too() -> None:
    peer = opened()
    peer.send(head(1, OPENING), data(1, messages(headers(), part(LIST), trailers())))
    found = answers(peer)
    assert [one.WhichOneof("response") for one in found] == [
        "response_headers",
        "response_body",
        "response_trailers",
    ]
    assert body_of(found)[1] is False


async def test_a_last_part_that_comes_twice_changes_nothing() -> None:
    peer = opened()
    peer.send(head(1, OPENING), data(1, messages(headers(), part(LIST, is_last=True))))
    assert len(answers(peer)) == 2
    peer.send(data(1, messages(part(LIST, is_last=True)), END))
    frames = peer.frames()
    assert [frame for frame in frames if frame.kind == http2_codec.DATA] == []
    assert status_of(frames) == "0"


async def test_a_stream_that_ends_before_its_answer_never_ends_with_ok() -> None:
    """Envoy would send on the rest of the answer unchanged."""
    for content in (
        b"",
        messages(headers()),
        messages(headers(), part(LIST)),
        messages(headers("text/event-stream")),
    ):
        peer = opened()
        peer.send(head(1, OPENING), data(1, content, END))
        assert status_of(peer.frames()) not in {None, "0"}
    peer = opened()
    peer.send(head(1, OPENING, http2_codec.END_HEADERS | END))
    assert status_of(peer.frames()) not in {None, "0"}


@pytest.mark.parametrize(
    "content",
    [
        messages(b"\xff"),
        messages(b""),
        messages(part(LIST)),
        messages(trailers()),
        messages(headers(), headers()),
        b"\1" + framed(headers())[1:],
        b"\0" + (LARGEST_MESSAGE + 1).to_bytes(4, "big"),
    ],
    ids=["garbage", "nothing", "no headers", "only trailers", "two headers", "compressed", "too large"],
)
async def test_a_stream_that_cannot_be_read_ends_with_an_error_and_no_other_does(content: bytes) -> None:
    peer = opened()
    peer.send(head(1, OPENING), head(3, OPENING), data(3, messages(headers())), data(1, content))
    frames = peer.frames()
    assert status_of([frame for frame in frames if frame.stream == 1]) not in {None, "0"}
    peer.send(data(3, messages(part(LIST, is_last=True))))
    assert json.loads(body_of(answers(peer, 3))[0]) == json.loads(SEEN)
    assert not peer.transport.is_closed


async def test_an_answer_without_a_check_is_refused() -> None:
    peer = opened()
    peer.send(head(1, OPENING), data(1, messages(headers(checked=False))))
    (refusal,) = answers(peer)
    assert refusal.immediate_response.status.code == 503


async def test_one_caller_has_a_limit_of_open_answers_and_others_have_places() -> None:
    peer = opened()
    for number in range(MOST_OPEN_OF_ONE + 1):
        peer.send(head(2 * number + 1, OPENING), data(2 * number + 1, messages(headers())))
    refused = peer.answers()
    assert list(refused) == [2 * MOST_OPEN_OF_ONE + 1]
    other = 2 * MOST_OPEN_OF_ONE + 3
    peer.send(head(other, OPENING), data(other, messages(headers(subject="9"), part(LIST, is_last=True))))
    assert json.loads(body_of(answers(peer, other))[0]) == json.loads(SEEN)
    peer.send(http2_codec.reset(1, http2_codec.CANCEL))
    again = other + 2
    peer.send(head(again, OPENING), data(again, messages(headers(), part(LIST, is_last=True))))
    assert json.loads(body_of(answers(peer, again))[0]) == json.loads(SEEN)


async def test_the_bytes_of_an_answer_are_released_however_it_ends() -> None:
    kept = answer_filter()
    peer = Peer(answers=kept)
    for stream in (1, 3, 5, 7):
        peer.send(head(stream, OPENING), data(stream, messages(headers(), part(b" " * 1000))))
    assert (kept.memory.open_answers, kept.memory.held_bytes) == (4, 4000)
    peer.send(http2_codec.reset(1, http2_codec.CANCEL), data(3, b"", END), data(5, messages(b"\xff")))
    assert (kept.memory.open_answers, kept.memory.held_bytes) == (1, 1000)
    peer.connection.connection_lost(None)
    assert (kept.memory.open_answers, kept.memory.held_bytes) == (0, 0)


async def test_a_large_list_waits_for_its_turn_and_is_answered() -> None:
    peer = opened()
    padded = LIST[:-1] + b" " * (2 * LARGE) + b"}"
    peer.send(head(1, OPENING), data(1, messages(headers(), part(padded, is_last=True))))
    assert answers(peer) == []
    while not (found := answers(peer)):
        await settle()
    text, ended = body_of(found)
    assert (json.loads(text), ended) == (json.loads(SEEN), True)


async def test_a_stream_gets_new_room_only_while_the_peer_takes_what_it_gets() -> None:
    events = b": " + b"x" * 8000 + b"\n\n"
    peer = opened()
    peer.send(head(1, OPENING), data(1, messages(headers("text/event-stream"))))
    sent = 0
    while sent < STREAM_WINDOW // 2:
        peer.send(data(1, messages(part(events))))
        sent += len(events)
    frames = peer.frames()
    # The peer has the default window, and took nothing.
    assert sum(len(frame.payload) for frame in frames if frame.kind == http2_codec.DATA) == 65_535
    assert room_in(frames) is None
    peer.send(http2_codec.window_update(10_000_000, 1), http2_codec.window_update(10_000_000))
    room = None
    while room is None:
        await asyncio.sleep(0)
        room = room_in(peer.frames())
    assert room >= STREAM_WINDOW // 2


async def test_a_call_that_waits_for_room_for_the_rest_of_a_message_is_not_slow() -> None:
    """A client that reads slowly, such as a paused one, keeps its event stream."""
    kept = answer_filter()
    peer = Peer(answers=kept)
    event = b": " + b"x" * 5000 + b"\n"
    content = messages(headers("text/event-stream"), *[part(event)] * (STREAM_WINDOW // len(event) + 2))
    peer.send(head(1, OPENING), data(1, content[:STREAM_WINDOW]))
    for _ in range(3):
        peer.connection.sweep()
    assert kept.memory.open_answers == 1


async def test_a_peer_that_takes_nothing_makes_this_server_hold_no_more_than_its_share() -> None:
    kept = answer_filter()
    peer = Peer(answers=kept)
    events = b": " + b"x" * 16_000 + b"\n\n"
    stream = 1
    peer.send(head(stream, OPENING), data(stream, messages(headers("text/event-stream"))))
    for _ in range(4 * MOST_BYTES_OF_ONE // len(events)):
        if peer.transport.is_closed:
            break
        peer.send(data(stream, messages(part(events))))
        if status_of([frame for frame in peer.frames() if frame.stream == stream]) not in {None, "0"}:
            stream += 2
            peer.send(head(stream, OPENING), data(stream, messages(headers("text/event-stream"))))
        assert kept.memory.held_bytes <= MOST_BYTES_OF_ONE + STREAM_WINDOW


async def test_a_service_that_sends_events_faster_than_they_are_read_waits_and_loses_none() -> None:
    kept = answer_filter()
    peer = Peer(answers=kept)
    note = json.dumps({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * 10_000}})
    event = f"data: {note}\n\n".encode()
    peer.send(http2_codec.window_update(1 << 30), head(1, OPENING), http2_codec.window_update(1 << 30, 1))
    peer.send(data(1, messages(headers("text/event-stream"))))
    begun = 7
    sent, passed = b"", b""
    while len(sent) < STREAM_WINDOW // 2 + len(event):
        # The begin of each event comes with the end of the one before it.
        piece = event[begun:] + event[:begun] if sent else event + event[:begun]
        peer.send(data(1, messages(part(piece))))
        sent += piece
    received, room = b"", None
    while len(passed) < len(sent) - begun:
        await asyncio.sleep(0)
        frames = peer.frames()
        received += b"".join(
            frame.payload for frame in frames if frame.kind == http2_codec.DATA and frame.stream == 1
        )
        passed = body_of(read(received))[0]
        assert kept.memory.held_bytes == len(sent) - len(passed)
        # There is no more room for the service while some of its events wait.
        assert room is None
        room = room_in(frames)
    assert passed == sent[:-begun]
    assert room is not None
    assert room >= STREAM_WINDOW // 2


async def test_resets_of_answered_streams_do_not_use_up_the_budget_of_the_connection() -> None:
    peer = opened()
    for number in range(8000):
        stream = 2 * number + 1
        peer.send(head(stream, OPENING), data(stream, messages(headers(), part(LIST, is_last=True))))
        peer.send(http2_codec.reset(stream, http2_codec.NO_ERROR))
        peer.frames()
    assert not peer.transport.is_closed
    await settle()


async def test_a_connection_that_ends_leaves_no_reference_cycles() -> None:
    async def connect() -> None:
        # Of these, one waits for the rest of a list, one for its turn, and one for a window for its events.
        peer = opened()
        large = LIST[:-1] + b" " * (2 * LARGE) + b"}"
        peer.send(*(head(stream, OPENING) for stream in (1, 3, 5)))
        peer.send(data(1, messages(headers(), part(LIST))))
        peer.send(data(3, messages(headers(), part(large, is_last=True))))
        peer.send(data(5, messages(headers("text/event-stream"), part(b": " + b"x" * 100_000 + b"\n\n"))))
        peer.connection.connection_lost(None)
        await settle()
        assert not peer.connections

    await connect()
    gc.collect()
    await connect()
    assert gc.collect() == 0


async def test_a_stream_gets_no_new_room_while_it_waits_for_its_turn() -> None:
    peer = opened()
    peer.send(head(1, OPENING), data(1, messages(headers("text/event-stream"), part(b": " + b"x" * LARGE))))
    sent = 0
    while sent < STREAM_WINDOW // 2:
        peer.send(data(1, messages(part(b"x" * 8000))))
        sent += 8000

    def room() -> list[Frame]:
        return [each for each in peer.frames() if each.kind == http2_codec.WINDOW_UPDATE and each.stream == 1]

    assert room() == []
    while not room():
        await settle()
