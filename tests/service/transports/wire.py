"""A connection of the fast transport without a socket: bytes in, frames out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.connection import Connection
from ext_authz.grpc_http2.grpc_services import Calls
from ext_authz.grpc_http2.header_blocks import CHECK
from ext_authz.service.health import Health
from ext_authz.service.server import CheckServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ext_authz.answers.answer_filter import AnswerFilter

HEAD = (
    (b":method", b"POST"),
    (b":scheme", b"http"),
    (b":path", CHECK),
    (b":authority", b"test"),
    (b"content-type", b"application/grpc"),
    (b"te", b"trailers"),
)
BLOCK = http2_codec.header_block(HEAD)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


class Authorizer:
    """Answers at once, later if the message asks for that, or raises."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.cancelled = 0
        self.gate = asyncio.Event()

    def check_now(self, message: bytes) -> bytes | list[bytes]:
        self.asked.append(message)
        if message == b"break":
            raise RuntimeError("a fault of ours")
        return [message] if message.startswith(b"later") else b"now:" + message

    async def finish(self, pending: list[bytes]) -> bytes:
        (message,) = pending
        if message == b"later, broken":
            raise RuntimeError("a fault of ours")
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"later:" + message


class Clock:
    """A clock that only the test advances."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeTransport:
    """Keeps all written bytes."""

    def __init__(self) -> None:
        self.written = b""
        self.writes = 0
        self.closed = asyncio.Event()
        self.is_paused = False

    @property
    def is_closed(self) -> bool:
        return self.closed.is_set()

    def write(self, data: bytes) -> None:
        assert not self.is_closed
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed.set()

    def get_extra_info(self, _: str) -> None:
        """There is no socket and no TLS."""

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class Peer:
    """The client's end. It must be made in a running loop."""

    def __init__(
        self, *settings: tuple[int, int], greet: bool = True, answers: AnswerFilter | None = None
    ) -> None:
        """`answers` is for calls of the filter on answers."""
        self.authorizer = Authorizer()
        self.health = Health()
        self.transport = FakeTransport()
        failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        server = CheckServer(
            cast("Any", self.authorizer), self.health, failed, cast("Any", None), cast("Any", answers)
        )
        self.connections: set[Connection] = set()
        self.clock = Clock()
        self.connection = Connection(Calls(server), self.connections, self.clock)
        self.connection.connection_made(cast("Any", self.transport))
        if greet:
            self.send(http2_codec.PREFACE + http2_codec.settings_frame(settings))
            self.frames()

    def send(self, *data: bytes) -> None:
        self.connection.data_received(b"".join(data))

    def frames(self) -> list[Frame]:
        """The frames that arrived since the last call."""
        data, self.transport.written = self.transport.written, b""
        return list(cut(data))

    def answers(self) -> dict[int, bytes]:
        """The DATA that arrived since the last call, by stream."""
        answers: dict[int, bytes] = {}
        for frame in self.frames():
            if frame.kind == http2_codec.DATA:
                answers[frame.stream] = answers.get(frame.stream, b"") + frame.payload
        return answers

    @property
    def ended_with(self) -> int | None:
        """The code with which the connection ended, if it did."""
        codes = [
            http2_codec.number(frame.payload[4:]) for frame in self.frames() if frame.kind == http2_codec.GOAWAY
        ]
        return codes[-1] if codes and self.transport.is_closed else None


def cut(data: bytes) -> Iterable[Frame]:
    """Split `data`, which must be complete frames, into frames."""
    while data:
        high, low, kind, flags, stream = http2_codec.HEAD.unpack_from(data)
        end = http2_codec.HEAD_BYTES + (high << 8 | low)
        assert len(data) >= end
        yield Frame(kind, flags, stream, data[http2_codec.HEAD_BYTES : end])
        data = data[end:]


def framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def head(stream: int, block: bytes = BLOCK, flags: int = http2_codec.END_HEADERS) -> bytes:
    return http2_codec.frame(http2_codec.HEADERS, flags, stream, block)


def body(stream: int, message: bytes, flags: int = http2_codec.END_STREAM) -> bytes:
    return http2_codec.frame(http2_codec.DATA, flags, stream, framed(message))


def call(stream: int, message: bytes) -> bytes:
    return head(stream) + body(stream, message)


async def settle() -> None:
    """Let the event loop run everything that is ready."""
    for _ in range(100):
        await asyncio.sleep(0)
