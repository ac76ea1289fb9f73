"""A small real HTTP server behind Envoy. It records each request and returns it in the answer."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, ClassVar, cast
from urllib.parse import unquote

from tests.support import http_servers

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Received:
    """One request as it arrived. Header names are in lower case; values of repeated headers are in order."""

    upstream: str
    method: str
    target: str
    headers: dict[str, list[str]]
    body: bytes

    @property
    def path(self) -> str:
        """The request target without its query."""
        return self.target.partition("?")[0]


@dataclass
class Upstream:
    """A running server: its name, its address for Envoy, and all requests it received."""

    name: str
    address: str
    received: list[Received] = field(default_factory=list)
    more: threading.Event = field(default_factory=threading.Event)
    """A test sets it to continue a response under `/stream` after the first event."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    upstream: ClassVar[Upstream]

    def _answer(self) -> None:
        body = self._body()
        headers: dict[str, list[str]] = {}
        for name, value in self.headers.items():
            headers.setdefault(name.lower(), []).append(value)
        received = Received(self.upstream.name, self.command, self.path, headers, body)
        self.upstream.received.append(received)
        if received.path.endswith("/stream"):
            self._stream()
            return
        if received.path.endswith("/redirect"):
            self._redirect(unquote(received.target.partition("?to=")[2]))
            return
        text = json.dumps({"upstream": received.upstream, "target": received.target, "size": len(body)}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Powered-By", "something old")
        for value in headers.get("x-answer-varies-by", ()):
            self.send_header("Vary", value)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer  # noqa: N815 - the names the base class looks for

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", "0")))

    def _redirect(self, location: str) -> None:
        self.send_response(307)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.suppress(OSError):
            self._chunk(b"data: first\n\n")
            if self.upstream.more.wait(timeout=60):
                self._chunk(b"data: second\n\n")
            self._chunk(b"")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, *_: object) -> None:
        """Write no log: `received` has the requests."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that Envoy drops is not an error of this server."""


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        self.socket.bind(cast("str", self.server_address))
        self.server_name, self.server_port = "localhost", 0

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)


@contextlib.contextmanager
def serving(name: str, place: Path | None = None, *, tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """Run a server on the Unix socket `place`, or on a free loopback port, until the context ends."""
    handler = type("Handler", (_Handler,), {})
    server: _Server
    if place is not None:
        server = _UnixServer(cast("tuple[str, int]", str(place)), handler)
        address = f"unix:{place}"
    else:
        server = _Server(("127.0.0.1", 0), handler)
        address = f"127.0.0.1:{server.server_address[1]}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    upstream = Upstream(name, address)
    handler.upstream = upstream  # type: ignore[attr-defined]
    with http_servers.serving(server):
        try:
            yield upstream
        finally:
            upstream.more.set()
