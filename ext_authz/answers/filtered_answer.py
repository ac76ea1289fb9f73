"""One answer of a service on its way to the caller: a list, or an answer that begins a session.

Envoy opens a gRPC stream for each such answer. A list that is JSON is sent on only when it is complete and good.
Its headers wait until then, so that any fault still becomes a whole JSON-RPC error. An event stream is sent on
event by event, and a fault ends it with an event that has the error.

Envoy sends the rest of an answer to the caller unchanged when a gRPC stream ends with OK. So a stream may end with
OK only if `is_over`, and must end with an error otherwise.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from ext_authz.answers import envoy_processing
from ext_authz.answers.envoy_processing import SESSION_ID, Headers, Part, Trailers, UnreadableError
from ext_authz.answers.limits import LARGE, LONGEST_SECONDS, VERY_LARGE
from oauth_core.policy import list_answers
from oauth_core.policy.deny_response import deny_response
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.answers.answer_filter import AnswerFilter
    from ext_authz.answers.envoy_processing import Context
    from oauth_core.policy.deny_response import DenyResponse
    from oauth_core.policy.list_answers import ListAnswer

_EVENTS = "text/event-stream"
_ERRORS = range(400, 600)
"""Statuses that a refusal keeps: 404 makes a client begin a new session."""

_BAD_GATEWAY = 502


class FilteredAnswer:
    """Belongs to one gRPC stream. `take` and `catch_up` return the messages to send.

    `expired` is called with the last message when the service did not complete a list in time.
    """

    def __init__(self, owner: AnswerFilter, expired: Callable[[bytes], None]) -> None:
        self.is_over = False
        """Whether the caller gets nothing more of this answer that a filter must see."""
        self.is_late = False
        """Whether `catch_up` must run before there are more messages to send."""
        self._owner = owner
        self._expired = expired
        self._context: Context | None = None
        self._filter: ListAnswer | None = None
        self._headers: bytes | None = None
        self._waiting: deque[Part | Trailers] = deque()
        self._held = 0
        self._waiting_bytes = 0
        self._unsent = 0
        self._is_stream = self._is_passed = False
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def has_begun(self) -> bool:
        """Whether the headers of the answer have come."""
        return self._context is not None or self.is_over

    def take(self, message: bytes) -> list[bytes]:
        """Return the answer to the next message of Envoy. Raises `UnreadableError`."""
        found, request = envoy_processing.decode(message)
        if isinstance(found, Headers):
            if self.has_begun:
                raise UnreadableError
            self._context = envoy_processing.context_of(request)
            return self._begin(found)
        if not self.has_begun:
            raise UnreadableError
        if self.is_over:
            # Envoy sends the last part twice sometimes (https://github.com/envoyproxy/envoy/issues/46237).
            return []
        if self._filter is None:
            return self._pass_on(found)
        if not self._hold(_size(found)):
            return self._refuse(DenyReason.LISTS_BUSY)
        if self.is_late or self._is_large(found):
            self._waiting.append(found)
            self._waiting_bytes += _size(found)
            self.is_late = True
            return []
        return self._filtered(found)

    async def catch_up(self) -> list[bytes]:
        """Wait for the turn of this answer among the large ones, and return the messages for its next part."""
        sent = await self._next_part(self._context) if self._waiting and self._context is not None else []
        if self.is_over:
            self._waiting.clear()
            self._waiting_bytes = 0
        self.is_late = bool(self._waiting)
        return sent

    async def _next_part(self, context: Context) -> list[bytes]:
        if not await self._owner.large.wait(context.subject):
            return [] if self.is_over else self._refuse(DenyReason.LISTS_BUSY)
        found = self._next_waiting()
        if self._held - self._unsent <= VERY_LARGE:
            return self._filtered(found)
        async with self._owner.thread:
            data = await asyncio.to_thread(self._read, found)
        return self._answered(found, data)

    def account(self, unsent: int) -> bool:
        """Count `unsent` bytes that Envoy has no room for yet; return `False` if these are too many."""
        if self._context is None or unsent == self._unsent:
            return True
        more, self._unsent = unsent - self._unsent, unsent
        return self._hold(more)

    def close(self) -> None:
        """Release what this answer holds. Call this once, when its stream has ended."""
        self._stop_clock()
        if self._context is not None:
            self._owner.memory.close(self._context.subject, self._held)
            self._context = None
        self.is_over = True
        # It may refer back to this object, and checks leave no work to the garbage collector.
        self._expired = _nothing

    def _begin(self, headers: Headers) -> list[bytes]:
        context = self._context
        if context is None:
            # Envoy shows no check of this request, so the answer may be a list without a filter.
            self.is_over = True
            return [_refusal(DenyReason.INTERNAL_ERROR, None)]
        if not self._owner.memory.open(context.subject):
            self._context = None
            self.is_over = True
            return [_refusal(DenyReason.LISTS_BUSY, context)]
        sealed = self._owner.with_sealed_session(context, headers.session_ids)
        removed = (SESSION_ID,) if sealed == "" else ()
        values = ((SESSION_ID, sealed),) if sealed else ()
        if headers.is_whole or context.held is None:
            self.is_over = headers.is_whole
            self._is_passed = True
            return [envoy_processing.pass_headers(removed, values)]
        is_shown = self._owner.names_shown(context)
        if is_shown is None:
            return self._refuse(DenyReason.INTERNAL_ERROR)
        self._filter = list_answers.open_answer(
            headers.content_type,
            headers.content_encoding,
            is_shown,
            context.request_id,
            resumed=context.is_resumed,
        )
        if self._filter.fault is not None:
            status = headers.status if headers.status in _ERRORS else _BAD_GATEWAY
            return self._refuse(self._filter.fault, status)
        self._headers = envoy_processing.pass_headers(removed, values)
        self._is_stream = (headers.content_type or "").partition(";")[0].strip().lower() == _EVENTS
        if self._is_stream:
            return self._take_headers()
        self._deadline = asyncio.get_running_loop().call_later(LONGEST_SECONDS, self._expire)
        return []

    def _filtered(self, found: Part | Trailers) -> list[bytes]:
        return self._answered(found, self._read(found))

    def _read(self, found: Part | Trailers) -> bytes:
        """Return what the filter lets pass. It changes nothing but the filter, so a thread can run it."""
        if self._filter is None:
            return b""
        data = self._filter.add(found.data) if isinstance(found, Part) else b""
        return data + self._filter.end() if isinstance(found, Trailers) or found.is_last else data

    def _answered(self, found: Part | Trailers, data: bytes) -> list[bytes]:
        if self.is_over:
            # The time of the list ended while it waited for its turn.
            return []
        is_end = isinstance(found, Trailers) or found.is_last
        if self._filter is not None and self._filter.fault is not None:
            return self._refuse(self._filter.fault, body=data)
        if not is_end:
            if data:
                self._release(self._waiting_bytes + (0 if self._filter is None else self._filter.incomplete))
            return envoy_processing.pass_body(data, is_last=False)
        self._end()
        has_trailers = isinstance(found, Trailers)
        body = envoy_processing.pass_body(data, is_last=not has_trailers)
        return [*self._take_headers(), *body, *([envoy_processing.pass_trailers()] if has_trailers else [])]

    def _pass_on(self, found: Part | Trailers) -> list[bytes]:
        """Return a message unchanged, of an answer that needs no filter."""
        if isinstance(found, Trailers):
            self.is_over = True
            return [envoy_processing.pass_trailers()]
        self.is_over = found.is_last
        return envoy_processing.pass_body(found.data, is_last=found.is_last)

    def _refuse(self, reason: DenyReason, status: int | None = None, body: bytes | None = None) -> list[bytes]:
        context, is_passed = self._context, self._is_passed
        self._end()
        if context is not None:
            self._owner.record(reason, context)
        if not is_passed:
            return [_refusal(reason, context, status)]
        if body is None and self._is_stream:
            body = b"event: message\ndata: " + _response(reason, context).body.encode() + b"\n\n"
        return envoy_processing.pass_body(body or b"", is_last=True)

    def _next_waiting(self) -> Part | Trailers:
        """Return what waits, all parts of the body as one."""
        first = self._waiting.popleft()
        if isinstance(first, Trailers):
            return first
        data, is_last = [first.data], first.is_last
        while self._waiting and isinstance(part := self._waiting[0], Part):
            self._waiting.popleft()
            data.append(part.data)
            is_last = is_last or part.is_last
        found = Part(b"".join(data), is_last)
        self._waiting_bytes -= _size(found)
        return found

    def _take_headers(self) -> list[bytes]:
        headers, self._headers, self._is_passed = self._headers, None, True
        return [] if headers is None else [headers]

    def _is_large(self, found: Part | Trailers) -> bool:
        is_due = self._is_stream or isinstance(found, Trailers) or found.is_last
        return is_due and self._held - self._unsent > LARGE

    def _hold(self, more: int) -> bool:
        self._held += more
        return self._context is None or self._owner.memory.hold(self._context.subject, more)

    def _release(self, kept: int = 0) -> None:
        """Count the bytes that were sent on as released: all but `kept`, and those that Envoy has no room for."""
        self._hold(kept + self._unsent - self._held)

    def _end(self) -> None:
        self._stop_clock()
        self.is_over = True
        self._release()

    def _expire(self) -> None:
        self._deadline = None
        if not self.is_over:
            for message in self._refuse(DenyReason.LIST_TOO_SLOW):
                self._expired(message)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _size(found: Part | Trailers) -> int:
    return len(found.data) if isinstance(found, Part) else 0


def _nothing(_message: bytes) -> None:
    """Do nothing."""


def _refusal(reason: DenyReason, context: Context | None, status: int | None = None) -> bytes:
    response = _response(reason, context)
    return envoy_processing.refuse(status or response.status, response.headers, response.body.encode(), reason)


def _response(reason: DenyReason, context: Context | None) -> DenyResponse:
    return deny_response(reason, None).answering(None if context is None else context.request_id)
