"""The calls of one HTTP/2 connection: frames in, answers out, and no task for a cached answer.

Envoy sends a Check as two frames, HEADERS and DATA. Both are recognised first, the headers by their bytes, and
answered at once. All other frames are processed in the general way, by RFC 9113: a violation ends the stream or
the connection.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.block_assembly import Block, BlockAssembly
from ext_authz.grpc_http2.call_dispatch import Answers
from ext_authz.grpc_http2.control_budget import is_control
from ext_authz.grpc_http2.grpc_frames import (
    DEADLINE_EXCEEDED,
    PREFIX,
    RESOURCE_EXHAUSTED,
    UNIMPLEMENTED,
    CallError,
)
from ext_authz.grpc_http2.grpc_services import PROCESS
from ext_authz.grpc_http2.header_blocks import METHODS, Call, HeaderBlocks, check_trailers
from ext_authz.grpc_http2.limits import (
    LARGEST_FRAME,
    LOOKS,
    MOST_BUFFERED,
    MOST_ENDED_EARLY,
    MOST_STREAMS,
    PER_CALL,
    RESET,
)
from ext_authz.grpc_http2.message_streams import MessageStream, MessageStreams
from ext_authz.grpc_http2.partial_calls import Pieces

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.grpc_http2.control_budget import ControlBudget
    from ext_authz.grpc_http2.grpc_services import Calls
    from ext_authz.grpc_http2.outgoing import Outgoing

_TOGETHER = 4
"""Answers that are sent in one write. With more, a peer on another core is idle; with fewer, each costs more."""


class Streams:
    """The open calls of one connection. Belongs to one event loop."""

    def __init__(
        self,
        calls: Calls,
        outgoing: Outgoing,
        control: Callable[[int, int, int, bytes], None],
        budget: ControlBudget,
    ) -> None:
        """`control` takes frames about the connection itself: their kind, flags, stream and payload.

        `budget` limits the work of all frames that are not part of a complete call.
        """
        self.taken = 0
        """Bytes of DATA since the owner last gave the peer new room for them."""
        self.takes_more = True
        """Whether new calls are accepted."""
        self.last = 0
        """The newest stream of the peer."""
        self._answers = Answers(calls, outgoing, self._answered)
        self._message_streams = MessageStreams(calls, outgoing, self._broken)
        self._outgoing = outgoing
        self._control = control
        self._budget = budget
        self._blocks = HeaderBlocks()
        # The state of a call: its headers, pieces of its message, its messages, or the task that answers it.
        self._open: dict[int, Call | Pieces | MessageStream | asyncio.Task[None]] = {}
        # Streams that this server ended before the peer did: more frames may arrive, and do not matter.
        self._ended_early: dict[int, None] = {}
        self._assembly = BlockAssembly()
        self._buffered = 0
        self._slow: set[int] = set()
        # Calls that have begun. The number of a stream is no count of them: a peer may leave numbers out.
        self._begun = 0

    @property
    def is_idle(self) -> bool:
        """Whether every call that arrived has been answered."""
        return not self._open and not self._outgoing.held

    def read(self, data: bytes, at: int) -> int:
        """Process the whole frames in `data` from `at` on; returns where the rest begins.

        Raises `http2_codec.ProtocolError`.
        """
        end = len(data)
        streams, known, held = self._open, self._blocks.known, self._outgoing.held
        assembly = self._assembly
        while end - at >= http2_codec.HEAD_BYTES:
            high, low, kind, flags, stream = http2_codec.HEAD.unpack_from(data, at)
            length = high << 8 | low
            begin = at + http2_codec.HEAD_BYTES
            after = begin + length
            if length > LARGEST_FRAME:
                raise http2_codec.ProtocolError("a frame is too large", http2_codec.FRAME_SIZE_ERROR)
            if after > end:
                break
            if (
                kind == http2_codec.DATA
                and flags == http2_codec.END_STREAM
                and (call := streams.get(stream)).__class__ is Call
                and call.is_plain_check
                and length >= PREFIX
                and data[begin : begin + PREFIX] == b"\0" + (length - PREFIX).to_bytes(4, "big")
                and assembly.stream is None
            ):
                self.taken += length
                del streams[stream]
                if task := self._answers.check(stream, call, data[begin + PREFIX : after]):
                    streams[stream] = task
            elif (
                kind == http2_codec.HEADERS
                and flags == http2_codec.END_HEADERS
                and (call := known.get(data[begin:after])) is not None
                and self.last < stream <= http2_codec.LAST_STREAM
                and stream & 1
                and assembly.stream is None
                and self.takes_more
                and len(streams) + len(held) < MOST_STREAMS
            ):
                self.last = stream
                self._begun += 1
                streams[stream] = call
            else:
                self._take(kind, flags, stream & http2_codec.LAST_STREAM, data[begin:after])
            at = after
            if len(self._outgoing.frames) >= _TOGETHER:
                self._outgoing.flush()
        return at

    def spend(self, units: int) -> None:
        """Spend units for work that no call causes. Raises `http2_codec.ProtocolError` when none are left."""
        self._budget.spend(units, self._begun)

    def sweep(self) -> None:
        """Called at intervals: ends calls that had begun at the last time, and are still incomplete."""
        coming = {stream for stream, state in self._open.items() if _is_incomplete(state)}
        for stream in coming & self._slow:
            self._fail(stream, CallError(DEADLINE_EXCEEDED, "the request did not come"), ended=False)
        self._slow = coming - self._slow

    def abandon(self) -> None:
        """End all calls, because no peer waits for answers.

        Do not use this object afterwards: the call drops its reference to the connection, which refers back to it.
        """
        for stream in [*self._open]:
            self._close(stream)
        del self._answers, self._message_streams

    def _take(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Process any frame that is not part of an ordinary Check."""
        if self._assembly.stream is not None and (
            kind != http2_codec.CONTINUATION or stream != self._assembly.stream
        ):
            raise http2_codec.ProtocolError("a header block is interrupted")
        if is_control(kind):
            self.spend(1)
        try:
            match kind:
                case http2_codec.DATA:
                    self._take_data(flags, stream, payload)
                case http2_codec.HEADERS:
                    self._take_block(self._assembly.begin(flags, stream, payload))
                case http2_codec.CONTINUATION:
                    self._take_block(self._assembly.go_on(flags, payload))
                case http2_codec.RST_STREAM:
                    self._take_reset(stream, payload)
                case http2_codec.WINDOW_UPDATE:
                    self._take_window(stream, payload)
                case http2_codec.PRIORITY:
                    http2_codec.check_priority(stream, payload)
                case http2_codec.SETTINGS | http2_codec.PING | http2_codec.GOAWAY:
                    self._control(kind, flags, stream, payload)
                case http2_codec.PUSH_PROMISE:
                    raise http2_codec.ProtocolError("a client cannot push")
        except http2_codec.ProtocolError as error:
            if not error.stream:
                raise
            # It costs as much as a reset by the peer, and a peer can cause these as fast.
            self.spend(RESET)
            self._end_early(error.stream, ended=bool(flags & http2_codec.END_STREAM))
            self._outgoing.forget(error.stream)
            self._outgoing.frames.append(http2_codec.reset(error.stream, error.code))

    def _take_data(self, flags: int, stream: int, payload: bytes) -> None:
        self.taken += len(payload)
        state = self._open.get(stream)
        if state is None or isinstance(state, asyncio.Task):
            if stream > self.last or not stream & 1:
                raise http2_codec.ProtocolError("data for a stream that was never opened")
            if stream in self._ended_early:
                self.spend(not payload)
                return
            raise http2_codec.ProtocolError("data after the end", http2_codec.STREAM_CLOSED, stream)
        data = http2_codec.content(http2_codec.DATA, flags, payload)
        ended = bool(flags & http2_codec.END_STREAM)
        if not (data or ended):
            self.spend(1)
        if isinstance(state, Call) and state.path == PROCESS and state.is_grpc:
            state = self._open[stream] = self._message_streams.open(stream, state)
        if isinstance(state, MessageStream):
            self._take_messages(stream, state, data, len(payload), ended=ended)
            return
        if isinstance(state, Call):
            state = self._open[stream] = Pieces(state)
        self._buffered += len(data)
        try:
            state.add(data)
            if self._buffered > MOST_BUFFERED:
                raise CallError(RESOURCE_EXHAUSTED, "too much is unfinished on this connection")
        except CallError as error:
            self._fail(stream, error, ended=ended)
        else:
            if ended:
                self._complete(stream, state.call, bytes(state.data))

    def _take_messages(self, stream: int, state: MessageStream, data: bytes, size: int, *, ended: bool) -> None:
        try:
            self._message_streams.take(stream, state, data, size)
        except CallError as error:
            self._message_streams.fail(stream, state, error)
            self._end_failed(stream, ended=ended)
            return
        if ended:
            self._message_streams.end(stream, state)
            self._close(stream)

    def _broken(self, stream: int, error: CallError) -> None:
        """End a call with messages that failed on our side, or whose answers the peer does not take."""
        state = self._open.get(stream)
        if isinstance(state, MessageStream):
            self._message_streams.fail(stream, state, error)
            self._end_failed(stream, ended=False)

    def _take_block(self, whole: Block | None) -> None:
        if whole is None:
            return
        stream, block, ended, depends_on_itself = whole
        if depends_on_itself:
            # Only after the block is read: it changes the state of the whole connection (section 4.3).
            self._blocks.skip(block)
            self._begun += stream > self.last
            self.last = max(self.last, stream)
            raise http2_codec.ProtocolError("a stream depends on itself", stream=stream)
        if stream <= self.last:
            self._take_trailers(stream, block, ended=ended)
            return
        self.last = stream
        self._begun += 1
        if not self.takes_more or len(self._open) + len(self._outgoing.held) >= MOST_STREAMS:
            self._blocks.skip(block)
            raise http2_codec.ProtocolError("no further call is taken", http2_codec.REFUSED_STREAM, stream)
        call = self._blocks.known.get(block) or self._blocks.read(block, stream)
        if call.is_grpc and call.path not in METHODS:
            # At once: a stream of messages might have no end before there is an answer.
            self._fail(stream, CallError(UNIMPLEMENTED, "there is no such method"), ended=ended)
        elif ended:
            self._complete(stream, call, b"")
        else:
            self._open[stream] = call

    def _take_trailers(self, stream: int, block: bytes, *, ended: bool) -> None:
        trailers = self._blocks.read_trailers(block)
        state = self._open.get(stream)
        if stream in self._ended_early:
            return
        if state is None or isinstance(state, asyncio.Task):
            # Before the answer it is an error of the stream, after it of the connection (section 5.1).
            raise http2_codec.ProtocolError(
                "headers after the end", http2_codec.STREAM_CLOSED, stream if state else 0
            )
        if not ended:
            raise http2_codec.ProtocolError("headers between data", stream=stream)
        check_trailers(trailers, stream)
        if isinstance(state, MessageStream):
            self._message_streams.end(stream, state)
            self._close(stream)
            return
        call, body = (state, b"") if isinstance(state, Call) else (state.call, bytes(state.data))
        self._complete(stream, call, body)

    def _take_reset(self, stream: int, payload: bytes) -> None:
        http2_codec.check_size(payload, http2_codec.NUMBER.size)
        self._check_is_opened(stream)
        # A complete call has cost the peer as much as this server. Callers of Envoy can make it send a call and
        # cancel it, so this must not use up the budget of other callers on the same connection.
        self.spend(RESET if isinstance(self._open.get(stream), Call | Pieces) else PER_CALL)
        self._close(stream)
        self._outgoing.forget(stream)
        self._ended_early.pop(stream, None)

    def _take_window(self, stream: int, payload: bytes) -> None:
        http2_codec.check_size(payload, http2_codec.NUMBER.size)
        size = http2_codec.number(payload)
        if stream:
            self._check_is_opened(stream)
        if not size:
            raise http2_codec.ProtocolError("no room is made", stream=stream)
        if not stream or stream in self._open or stream in self._outgoing.held:
            self.spend(self._outgoing.widen(stream, size) // LOOKS)
            state = self._open.get(stream)
            if not stream or isinstance(state, MessageStream):
                self._message_streams.widened(stream, state if isinstance(state, MessageStream) else None)

    def _check_is_opened(self, stream: int) -> None:
        if stream > self.last or not stream & 1:
            raise http2_codec.ProtocolError("a stream that was never opened")

    def _complete(self, stream: int, call: Call, body: bytes) -> None:
        """Process a call that the peer has sent completely."""
        self._close(stream)
        if call.length is not None and call.length != len(body):
            raise http2_codec.ProtocolError("a body is not as long as announced", stream=stream)
        if task := self._answers.give(stream, call, body):
            self._open[stream] = task

    def _answered(self, stream: int) -> None:
        self._open.pop(stream, None)
        self._outgoing.flush()

    def _fail(self, stream: int, error: CallError, *, ended: bool) -> None:
        state = self._open.get(stream)
        if isinstance(state, MessageStream):
            self._message_streams.fail(stream, state, error)
        else:
            self._outgoing.fail(stream, error)
        self._end_failed(stream, ended=ended)

    def _end_failed(self, stream: int, *, ended: bool) -> None:
        self._end_early(stream, ended=ended)
        if not ended:
            # The peer need not send the rest (RFC 9113 section 8.1).
            self._outgoing.frames.append(http2_codec.reset(stream, http2_codec.NO_ERROR))

    def _end_early(self, stream: int, *, ended: bool) -> None:
        self._close(stream)
        if not ended:
            self._ended_early[stream] = None
            if len(self._ended_early) > MOST_ENDED_EARLY:
                del self._ended_early[next(iter(self._ended_early))]

    def _close(self, stream: int) -> None:
        state = self._open.pop(stream, None)
        if isinstance(state, asyncio.Task):
            state.cancel()
        elif isinstance(state, MessageStream):
            self._message_streams.forget(stream)
            state.close()
        elif isinstance(state, Pieces):
            self._buffered -= len(state.data)


def _is_incomplete(state: Call | Pieces | MessageStream | asyncio.Task[None]) -> bool:
    """Return whether the peer owes the rest of a call, or of a message."""
    return state.is_incomplete if isinstance(state, MessageStream) else isinstance(state, Call | Pieces)
