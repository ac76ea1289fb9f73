"""The gRPC calls as an ASGI application, for servers that speak HTTP/2 and can send trailers.

The hot path is a Check whose answer is known: one `receive`, three `send`s of which two are always the same
objects, and no other await.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from ext_authz.health import CHECK_SERVICE, NAMES
from ext_authz.transports.grpc_frames import (
    DEADLINE_EXCEEDED,
    INTERNAL,
    LARGEST_MESSAGE,
    NOT_FOUND,
    PREFIX,
    UNAVAILABLE,
    UNIMPLEMENTED,
    CallError,
    check_prefix,
    frame,
    header,
    is_grpc,
    message_in,
    seconds_left,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from ext_authz.health import Health
    from ext_authz.server import CheckServer

    Scope = dict[str, Any]
    Message = dict[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Headers = list[tuple[bytes, bytes]]

CHECK = f"/{CHECK_SERVICE}/Check"
_HEALTH_CHECK = "/grpc.health.v1.Health/Check"
_HEALTH_WATCH = "/grpc.health.v1.Health/Watch"
GRPC = (b"content-type", b"application/grpc")

# Made once: a server only reads them.
BEGIN = {"type": "http.response.start", "status": 200, "headers": [GRPC], "trailers": True}
END = {"type": "http.response.trailers", "headers": [(b"grpc-status", b"0")]}
_MOVE_ON = {
    "type": "http.response.trailers",
    "headers": list(CallError(UNAVAILABLE, "this process is about to end").headers),
}
_NOTHING = {"type": "http.response.body", "body": b""}
_NOT_GRPC = {"type": "http.response.start", "status": 415, "headers": [(b"accept-post", b"application/grpc")]}


class GrpcApplication:
    """Answers the calls of HTTP/2 requests. `check_server` must be there before the first one comes."""

    def __init__(self, check_server: CheckServer) -> None:
        self._check_now = check_server.authorizer.check_now
        self._check_later = check_server.authorizer.check
        self._health = check_server.health
        self._others = {_HEALTH_CHECK: self._answer_health, _HEALTH_WATCH: self._watch_health}

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """The work for one request; not `async` itself, to spare a coroutine."""
        headers: Headers = scope["headers"]
        if scope["method"] != "POST" or not is_grpc(header(headers, b"content-type")):
            return _refuse_http(send)
        if scope["path"] == CHECK:
            return self._answer_check(headers, receive, send)
        if method := self._others.get(scope["path"]):
            return method(headers, receive, send)
        return end_with(CallError(UNIMPLEMENTED, "there is no such method"), send)

    async def _answer_check(self, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            message = await _read(headers, receive)
            if message is None:
                return
        except CallError as error:
            await end_with(error, send)
            return
        answer = self._check_now(message)
        if answer is None:
            await self.answer_later(message, headers, send)
        else:
            await _send(answer, send)

    async def answer_later(self, message: bytes, headers: Headers, send: Send) -> None:
        """Answer a check of which memory alone does not know the answer."""
        try:
            answer = await self._check_in_time(message, headers)
        except CallError as error:
            await end_with(error, send)
        else:
            await _send(answer, send)

    async def _check_in_time(self, message: bytes, headers: Headers) -> bytes:
        """The answer, or DEADLINE_EXCEEDED: who has stopped waiting must not be answered with an old decision."""
        try:
            async with asyncio.timeout(seconds_left(header(headers, b"grpc-timeout"))):
                return await self._check_later(message)
        except TimeoutError:
            raise CallError(DEADLINE_EXCEEDED, "the deadline has passed") from None

    async def _answer_health(self, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            name = await _read_health_request(headers, receive)
            if name is None:
                return
            if name not in NAMES:
                raise CallError(NOT_FOUND, "there is no such service")
        except CallError as error:
            await end_with(error, send)
            return
        await send(BEGIN)
        await send({"type": "http.response.body", "body": _health_frame(self._health.is_serving)})
        await send(END)

    async def _watch_health(self, headers: Headers, receive: Receive, send: Send) -> None:
        try:
            name = await _read_health_request(headers, receive)
        except CallError as error:
            await end_with(error, send)
            return
        if name is None:
            return
        await send(BEGIN)
        telling = asyncio.create_task(_tell_health(self._health if name in NAMES else None, send))
        gone = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((telling, gone), return_when=asyncio.FIRST_COMPLETED)
            if not gone.done():
                await send(_NOTHING)
                await send(_MOVE_ON)
        finally:
            for task in (telling, gone):
                task.cancel()
            await asyncio.gather(telling, gone, return_exceptions=True)


async def _send(answer: bytes, send: Send) -> None:
    await send(BEGIN)
    await send({"type": "http.response.body", "body": frame(answer)})
    await send(END)


async def _tell_health(health: Health | None, send: Send) -> None:
    if health is None:
        unknown = health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
        await send(_part(frame(unknown.SerializeToString())))
        await asyncio.get_running_loop().create_future()  # the protocol wants the stream to stay open
        return
    async with aclosing(health.follow()) as states:
        async for is_serving in states:
            await send(_part(_health_frame(is_serving)))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _part(data: bytes) -> Message:
    return {"type": "http.response.body", "body": data, "more_body": True}


def _health_frame(is_serving: bool) -> bytes:  # noqa: FBT001 - it is the whole message
    status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
    return frame(health_pb2.HealthCheckResponse(status=status).SerializeToString())


async def _read_health_request(headers: Headers, receive: Receive) -> str | None:
    message = await _read(headers, receive)
    if message is None:
        return None
    try:
        return health_pb2.HealthCheckRequest.FromString(message).service
    except DecodeError:
        raise CallError(INTERNAL, "the request cannot be decoded") from None


async def _read(headers: Headers, receive: Receive) -> bytes | None:
    """The message of the call; `None` when the caller is gone. Raises `CallError`."""
    event = await receive()
    if event["type"] != "http.request":
        return None
    body: bytes = event["body"]
    if (
        not event["more_body"]
        and PREFIX <= len(body) <= LARGEST_MESSAGE
        and body[0] == 0
        and int.from_bytes(body[1:PREFIX], "big") == len(body) - PREFIX
    ):
        return body[PREFIX:]
    encoding = header(headers, b"grpc-encoding")
    data = bytearray(body)
    check_prefix(data, encoding, LARGEST_MESSAGE)
    while event["more_body"]:
        event = await receive()
        if event["type"] != "http.request":
            return None
        data += event["body"]
        check_prefix(data, encoding, LARGEST_MESSAGE)
        if len(data) > LARGEST_MESSAGE + PREFIX:
            raise CallError(INTERNAL, "the request is longer than its message")
    return message_in(data)


async def end_with(error: CallError, send: Send) -> None:
    """End a call that has not begun to be answered with an error."""
    await send({"type": "http.response.start", "status": 200, "headers": [GRPC, *error.headers]})
    await send(_NOTHING)


async def _refuse_http(send: Send) -> None:
    await send(_NOT_GRPC)
    await send(_NOTHING)
