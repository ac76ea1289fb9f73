"""A small real MCP service behind Envoy whose answers a test writes byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar, cast

from tests.support import http_servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    Script = Callable[["Answering"], None]


@dataclass(frozen=True)
class Answering:
    """One request of which the answer is being written."""

    headers: dict[str, str]
    body: bytes
    _handler: _Handler

    def begin(
        self, content_type: str | None, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Send the headers of an answer in chunks."""
        self._handler.send_response(status)
        if content_type is not None:
            self._handler.send_header("Content-Type", content_type)
        for name, value in (headers or {}).items():
            self._handler.send_header(name, value)
        self._handler.send_header("Transfer-Encoding", "chunked")
        self._handler.end_headers()

    def send(self, data: bytes) -> None:
        """Send a part of the body."""
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        """End the body."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def whole(self, data: bytes, content_type: str | None = "application/json", **more: object) -> None:
        """Send an answer with its length."""
        status = cast("int", more.pop("status", 200))
        self._handler.send_response(status)
        if content_type is not None:
            self._handler.send_header("Content-Type", content_type)
        for name, value in cast("Mapping[str, str]", more.pop("headers", {})).items():
            self._handler.send_header(name, value)
        self._handler.send_header("Content-Length", str(len(data)))
        self._handler.end_headers()
        self._handler.wfile.write(data)

    def cut(self) -> None:
        """Close the connection in the middle of the answer."""
        self._handler.close_connection = True
        self._handler.connection.shutdown(socket.SHUT_RDWR)


@dataclass
class ListingService:
    """A running service. `script` writes every answer."""

    address: str
    script: Script
    asked: list[Answering] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """A test sets it to let a script continue. It is set at the end in any case."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: ClassVar[ListingService]

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        one = Answering({name.lower(): value for name, value in self.headers.items()}, body, self)
        self.service.asked.append(one)
        with contextlib.suppress(OSError):
            self.service.script(one)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815 - the names the base class looks for

    def log_message(self, *_: object) -> None:
        """Write no log."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    address_family = socket.AF_UNIX
    request_queue_size = 512

    def server_bind(self) -> None:
        self.socket.bind(cast("str", self.server_address))
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that Envoy drops is not an error of this server."""


@contextlib.contextmanager
def listing(place: Path, script: Script) -> Iterator[ListingService]:
    """Run the service on the Unix socket `place` until the context ends."""
    service = ListingService(f"unix:{place}", script)
    handler = type("Handler", (_Handler,), {"service": service})
    with http_servers.serving(_Server(cast("tuple[str, int]", str(place)), handler)):
        try:
            yield service
        finally:
            service.released.set()
