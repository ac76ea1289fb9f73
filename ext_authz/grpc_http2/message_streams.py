"""Calls with any number of messages in both directions: the filter on answers.

The room that the peer has for more bytes of a call is renewed only while it takes our messages, and while none of
its own waits for its turn here. A peer that does not read, or sends more than is read, cannot send on: so neither
direction piles up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from ext_authz.answers.envoy_processing import UnreadableError
from ext_authz.answers.filtered_answer import FilteredAnswer
from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.grpc_frames import (
    INTERNAL,
    PREFIX,
    RESOURCE_EXHAUSTED,
    CallError,
    check_prefix,
)
from ext_authz.grpc_http2.limits import LARGEST_MESSAGE, STREAM_WINDOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ext_authz.grpc_http2.grpc_services import Calls
    from ext_authz.grpc_http2.header_blocks import Call
    from ext_authz.grpc_http2.outgoing import Outgoing

_BROKEN = CallError(INTERNAL, "the call failed")
_UNREADABLE = CallError(INTERNAL, "the request cannot be decoded")
_UNFINISHED = CallError(INTERNAL, "the stream ended before the answer")
_TOO_MUCH = CallError(RESOURCE_EXHAUSTED, "too much of the answers is not taken")
_RENEWED_FROM = STREAM_WINDOW // 2


class MessageStream:
    """The state of one such call. `task` prepares messages that have to wait."""

    __slots__ = ("_data", "answer", "call", "has_answered", "taken", "task")

    def __init__(self, call: Call, answer: FilteredAnswer) -> None:
        self.call = call
        self.answer = answer
        self.task: asyncio.Task[None] | None = None
        self.has_answered = False
        """Whether the headers of our side have been sent."""
        self.taken = 0
        """Bytes of DATA since the peer last got new room for them."""
        self._data = bytearray()

    @property
    def is_incomplete(self) -> bool:
        """Whether the peer owes the rest of a message, or the first one, and has got new room for it."""
        return not self.answer.has_begun or (bool(self._data) and self.taken < _RENEWED_FROM)

    def messages(self, data: bytes) -> Iterator[bytes]:
        """Yield the messages that `data` completes. Raises `CallError` as soon as a valid one is impossible."""
        self._data += data
        while self._data:
            check_prefix(self._data, self.call.encoding, LARGEST_MESSAGE)
            end = PREFIX + int.from_bytes(self._data[1:PREFIX], "big")
            if len(self._data) < PREFIX or len(self._data) < end:
                return
            message = bytes(self._data[PREFIX:end])
            del self._data[:end]
            yield message

    def close(self) -> None:
        """End the work for this call."""
        if self.task is not None:
            self.task.cancel()
            self.task = None  # it refers back to this object
        self.answer.close()


class MessageStreams:
    """Answers these calls. `broken` is called with a call that must end, and why; it closes the call."""

    def __init__(self, calls: Calls, outgoing: Outgoing, broken: Callable[[int, CallError], None]) -> None:
        self._calls = calls
        self._outgoing = outgoing
        self._broken = broken
        # Calls that give the peer no new room before it takes our messages, or before their turn has come.
        self._without_room: dict[int, MessageStream] = {}

    def open(self, stream: int, call: Call) -> MessageStream:
        """Begin a call."""

        def expired(message: bytes) -> None:
            self._send(stream, state, [message])
            self._outgoing.flush()

        state = MessageStream(call, FilteredAnswer(self._calls.answers, expired))
        return state

    def take(self, stream: int, state: MessageStream, data: bytes, size: int) -> None:
        """Process the messages that `data` completes, which took `size` bytes of room. Raises `CallError`."""
        try:
            for message in state.messages(data):
                self._send(stream, state, state.answer.take(message))
            self._account(stream, state)
        except UnreadableError:
            raise _UNREADABLE from None
        except CallError:
            raise
        except Exception:  # noqa: BLE001 - the fault must end this call and no other
            structlog.get_logger("server").exception("call.failed")
            raise _BROKEN from None
        if state.answer.is_late and state.task is None:
            state.task = asyncio.get_running_loop().create_task(self._catch_up(stream, state))
        state.taken += size
        self._renew(stream, state)

    def end(self, stream: int, state: MessageStream) -> None:
        """Answer the end of the peer's messages. After an OK too early it would send on what is not filtered."""
        self.forget(stream)
        if state.answer.is_over:
            self._outgoing.finish(stream, begun=state.has_answered)
        else:
            self._outgoing.fail(stream, _UNFINISHED, begun=state.has_answered)

    def fail(self, stream: int, state: MessageStream, error: CallError) -> None:
        """End a call with an error."""
        self.forget(stream)
        self._outgoing.fail(stream, error, begun=state.has_answered)

    def widened(self, stream: int, state: MessageStream | None) -> None:
        """The peer has taken messages, of this call or (without `state`) of any."""
        found = [*self._without_room.items()] if state is None else [(stream, state)]
        for number, one in found:
            try:
                self._account(number, one)
            except CallError as error:
                self._broken(number, error)
            else:
                self._renew(number, one)

    def forget(self, stream: int) -> None:
        """Give no more room on a call that is over."""
        self._without_room.pop(stream, None)

    def _send(self, stream: int, state: MessageStream, messages: Sequence[bytes]) -> None:
        for message in messages:
            if not state.has_answered:
                state.has_answered = True
                self._outgoing.begin(stream)
            self._outgoing.message(stream, message)

    def _account(self, stream: int, state: MessageStream) -> None:
        if not state.answer.account(self._outgoing.unsent(stream)):
            raise _TOO_MUCH

    def _renew(self, stream: int, state: MessageStream) -> None:
        if state.taken < _RENEWED_FROM:
            return
        if self._outgoing.unsent(stream) or state.answer.is_late:
            self._without_room[stream] = state
            return
        self._without_room.pop(stream, None)
        self._outgoing.frames.append(http2_codec.window_update(state.taken, stream))
        state.taken = 0

    async def _catch_up(self, stream: int, state: MessageStream) -> None:
        try:
            while state.answer.is_late:
                self._send(stream, state, await state.answer.catch_up())
                self._account(stream, state)
                self._renew(stream, state)
                self._outgoing.flush()
        except CallError as error:
            self._broken(stream, error)
        except Exception:  # noqa: BLE001 - as in `take`
            structlog.get_logger("server").exception("call.failed")
            self._broken(stream, _BROKEN)
        state.task = None
        self._outgoing.flush()
