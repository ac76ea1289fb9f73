"""Checks whose answer is known, answered without a task.

The host calls the application, makes a task of what it returns, and steps it through the event loop four times: to
begin, to receive, to go on, to end. For a check that memory answers this costs more than the check. So here a call
asks for its message while it is being made, answers in the very callback that brings it, and is no task at all:
the loop's task factory hands it back as it is. Whatever is not that simple becomes a task after all, and starts
again with the message in hand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import structlog

from ext_authz.transports.grpc_asgi import BEGIN, CHECK, END, GRPC, GrpcApplication, end_with
from ext_authz.transports.grpc_frames import INTERNAL, LARGEST_MESSAGE, PREFIX, CallError, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ext_authz.server import CheckServer
    from ext_authz.transports.grpc_asgi import Message, Receive, Scope, Send


class TasklessCalls:
    """The gRPC calls for a host that does with what it is given only what is described above."""

    def __init__(self, check_server: CheckServer) -> None:
        self._check_now = check_server.authorizer.check_now
        self._all = GrpcApplication(check_server)
        self._tasks: set[asyncio.Task[None]] = set()
        self._log = structlog.get_logger("server")

    def prepare(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let `loop` take a `Call` for a task. Everything else becomes one, as ever."""
        loop.set_task_factory(_task)  # type: ignore[arg-type] # a call is as much of a task as the host needs

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Call | Coroutine[Any, Any, None]:
        """The work for one request."""
        if scope["path"] != CHECK or scope["method"] != "POST" or GRPC not in scope["headers"]:
            return self._all(scope, receive, send)
        message = receive()
        if not isinstance(message, asyncio.Future):  # it ended with its headers
            return self._all(scope, receive, send)

        def arrived(message: asyncio.Future[Message]) -> None:
            event = message.result()
            try:
                content = _whole(event)
                if content is None:
                    self._begin_task(scope, event, receive, send)
                elif not self._answer(content, send):
                    self._keep(self._all.answer_later(content, scope["headers"], send))
            except Exception:  # noqa: BLE001 - a call without a task has nobody else to end it
                self._log.exception("call.failed")
                self._keep(end_with(CallError(INTERNAL, "the call failed"), send))

        message.add_done_callback(arrived)
        return CALL

    def _answer(self, content: bytes, send: Send) -> bool:
        """Whether the message could be answered at once."""
        answer = self._check_now(content)
        if answer is None:
            return False
        # What these return is there for whoever wants to wait until it has left.
        send(BEGIN)
        send({"type": "http.response.body", "body": frame(answer)})
        send(END)
        return True

    def _begin_task(self, scope: Scope, event: Message, receive: Receive, send: Send) -> None:
        first = [event]

        async def again() -> Message:
            return first.pop() if first else await receive()

        self._keep(self._all(scope, again, send))

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, OSError):  # that would be a caller who has left
            self._log.error("call.failed", error=type(error).__name__)


def _whole(event: Message) -> bytes | None:
    """The message of a call, if it came in one piece and is as it should be."""
    if event["type"] != "http.request" or event["more_body"]:
        return None
    body: bytes = event["body"]
    size = len(body) - PREFIX
    if not 0 <= size <= LARGEST_MESSAGE - PREFIX or body[0] or int.from_bytes(body[1:PREFIX], "big") != size:
        return None
    return body[PREFIX:]


class Call:
    """Stands for a call where the host expects a task. There is nothing to wait for and nothing to fail."""

    def add_done_callback(self, callback: Callable[[object], object]) -> None:
        """Never call it: it is there to tell of errors."""


CALL = Call()


def _task(
    loop: asyncio.AbstractEventLoop, work: Call | Coroutine[Any, Any, Any], **more: Any
) -> Call | asyncio.Task[Any]:
    return work if work is CALL else asyncio.Task(work, loop=loop, **more)  # type: ignore[arg-type] # no other call
