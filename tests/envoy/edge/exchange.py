"""A client that sends any bytes to a server and returns the result: the answers, or how the stream ended."""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpack import Decoder

from ext_authz.grpc_http2 import http2_codec
from portcullis.bench.http2_client import FrameReader, opening

if TYPE_CHECKING:
    from collections.abc import Iterable

_PATIENCE = 60.0
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")
RESET, CLOSED = "stream reset", "connection closed"

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Back:
    """The result: the statuses in order, or how the stream ended without a status; and all received
    bytes as text.
    """

    answers: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        return ", then ".join(self.answers)


@dataclass(frozen=True)
class Http1:
    """Bytes for one connection, sent unchanged. `HOST` in them is replaced by the host of the gateway."""

    data: bytes

    def send(self, port: int, host: str) -> Back:
        """Return all bytes that arrive until the server closes the connection."""
        came = b""
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(self.data.replace(b"HOST", host.encode()))
            with contextlib.suppress(ConnectionError):
                while piece := connection.recv(65536):
                    came += piece
        statuses = tuple(status.decode() for status in _STATUS.findall(came))
        return Back(statuses or (CLOSED,), came.decode("latin-1"))


@dataclass(frozen=True)
class Http2:
    """One request on one connection: header fields in exactly this order and spelling, and DATA for a body."""

    fields: Fields
    body: bytes | None = None

    def send(self, port: int, host: str) -> Back:
        """Return the status, or how the stream or the connection ended."""
        block = http2_codec.header_block(
            (name.encode(), value.replace("HOST", host).encode()) for name, value in self.fields
        )
        end = http2_codec.END_STREAM if self.body is None else 0
        data = opening() + http2_codec.frame(http2_codec.HEADERS, http2_codec.END_HEADERS | end, 1, block)
        if self.body is not None:
            data += http2_codec.frame(http2_codec.DATA, http2_codec.END_STREAM, 1, self.body)
        with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE) as connection:
            connection.sendall(data)
            return _fate(connection)


def _fate(connection: socket.socket) -> Back:
    reader, decoder = FrameReader(), Decoder()
    while True:
        try:
            data = connection.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            return Back((CLOSED,))
        for frame in reader.feed(data):
            if frame.kind == http2_codec.HEADERS and frame.stream == 1:
                head = {str(name): str(value) for name, value in decoder.decode(frame.content)}
                return Back((head[":status"],), str(head))
            if frame.kind == http2_codec.RST_STREAM and frame.stream == 1:
                return Back((RESET,))
            if frame.kind == http2_codec.GOAWAY:
                return Back((CLOSED,))


def http1(
    method: str, target: str, *lines: str, body: bytes = b"", host: str = "HOST", token: bool = True
) -> Http1:
    """A request in HTTP/1.1 with a valid token and these lines in its head."""
    head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close"]
    head += ["Authorization: Bearer good"] if token else []
    return Http1("\r\n".join((*head, *lines, "", "")).encode("latin-1") + body)


def posted(target: str, *lines: str, body: bytes = b"{}", token: bool = True) -> Http1:
    """A POST of JSON with a correct length."""
    length = f"Content-Length: {len(body)}"
    return http1("POST", target, "Content-Type: application/json", length, *lines, body=body, token=token)


def http2_fields(changes: Iterable[tuple[str, str | None]] = (), *more: tuple[str, str]) -> Fields:
    """A valid request in HTTP/2 with changed fields; the change `None` removes a field. Further fields follow."""
    good = {":method": "GET", ":scheme": "http", ":authority": "HOST", ":path": "/time/mcp"}
    fields: dict[str, str | None] = {**good, "authorization": "Bearer good", **dict(changes)}
    return (*((name, value) for name, value in fields.items() if value is not None), *more)
