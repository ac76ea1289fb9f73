"""Dispatches the complete calls of one HTTP/2 connection: to an answer at once, or to a task."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

import structlog

from ext_authz.grpc_http2.grpc_frames import (
    INTERNAL,
    UNAVAILABLE,
    CallError,
    check_prefix,
    message_in,
)
from ext_authz.grpc_http2.grpc_services import EXPORT, HEALTH_WATCH
from ext_authz.grpc_http2.header_blocks import CHECK
from ext_authz.grpc_http2.limits import LARGE, LARGEST_MESSAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ext_authz.decision.check import PendingCheck
    from ext_authz.grpc_http2.grpc_services import Calls
    from ext_authz.grpc_http2.header_blocks import Call
    from ext_authz.grpc_http2.outgoing import Outgoing

_BROKEN = CallError(INTERNAL, "the call failed")
_DRAINING = CallError(UNAVAILABLE, "this process is about to end")


class Answers:
    """Belongs to one event loop. `ended` is called with the stream of each task that has finished."""

    def __init__(self, calls: Calls, outgoing: Outgoing, ended: Callable[[int], None]) -> None:
        self._calls = calls
        self._outgoing = outgoing
        self._ended = ended

    def check(self, stream: int, call: Call, message: bytes) -> asyncio.Task[None] | None:
        """Answer a Check at once if the cache can; otherwise return the task that will."""
        if len(message) > LARGE:
            return self._spawn(stream, partial(self._check_in_turn, stream, message, call.timeout))
        try:
            answer = self._calls.check_now(message)
        except Exception:  # noqa: BLE001 - without a task, no other code would end the call
            structlog.get_logger("server").exception("call.failed")
            self._outgoing.fail(stream, _BROKEN)
            return None
        if not isinstance(answer, bytes):
            return self._spawn(stream, partial(self._finish, stream, answer, call.timeout))
        self._outgoing.answer(stream, answer)
        return None

    def give(self, stream: int, call: Call, body: bytes) -> asyncio.Task[None] | None:
        """Answer any call, at once or by the task that is returned."""
        if not call.is_grpc:
            self._outgoing.refuse(stream)
            return None
        try:
            check_prefix(body, call.encoding, LARGEST_MESSAGE)
            message = message_in(body)
            if call.path == CHECK:
                return self.check(stream, call, message)
            if call.path == HEALTH_WATCH:
                return self._spawn(stream, partial(self._watch, stream, message))
            answer = self._calls.export(message) if call.path == EXPORT else self._calls.health(message)
            self._outgoing.answer(stream, answer)
        except CallError as error:
            self._outgoing.fail(stream, error)
        return None

    async def _finish(self, stream: int, pending: PendingCheck, seconds: float | None) -> None:
        self._outgoing.answer(stream, await self._calls.finish_in_time(pending, seconds))

    async def _check_in_turn(self, stream: int, message: bytes, seconds: float | None) -> None:
        self._outgoing.answer(stream, await self._calls.check_large(message, seconds))

    async def _watch(self, stream: int, message: bytes) -> None:
        states = self._calls.watch(message)
        self._outgoing.begin(stream)
        async with aclosing(states):
            async for state in states:
                self._outgoing.message(stream, state)
                self._outgoing.flush()
        self._outgoing.fail(stream, _DRAINING, begun=True)

    def _spawn(self, stream: int, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        """Continue a call in a task, which may be cancelled before it begins."""

        async def run() -> None:
            try:
                await work()
            except CallError as error:
                self._outgoing.fail(stream, error)
            except Exception:  # noqa: BLE001 - as in `check`
                structlog.get_logger("server").exception("call.failed")
                self._outgoing.fail(stream, _BROKEN)
            self._ended(stream)

        return asyncio.get_running_loop().create_task(run())
