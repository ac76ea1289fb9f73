"""A server for an authority's HTTP-01 challenges (RFC 8555 section 8.3), which Envoy forwards from port 80."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from oauth_core.net.listen_addresses import TcpAddress, UnixAddress
from oauth_core.process import ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.net.listen_addresses import ListenAddress

_PREFIX = "/.well-known/acme-challenge/"
_SECONDS = 10
_OWNER_ONLY = 0o177


class Challenges:
    """The answers to the present challenges, by path. Other paths have no answer."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}

    @contextlib.contextmanager
    def expecting(self, answers: dict[str, str]) -> Iterator[None]:
        """Give these answers, by token, inside the block."""
        self._answers = {f"{_PREFIX}{token}": answer.encode() for token, answer in answers.items()}
        try:
            yield
        finally:
            self._answers = {}

    def find(self, path: str) -> bytes | None:
        """The answer at `path`, or `None`."""
        return self._answers.get(path)


@contextlib.contextmanager
def serving(challenges: Challenges, address: ListenAddress) -> Iterator[None]:
    """Serve at `address` inside the block. Raises `OSError` when it cannot listen there."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _SECONDS

        def do_GET(self) -> None:
            answer = challenges.find(self.path)
            self.send_response(200 if answer is not None else 404)
            body = answer if answer is not None else b"no such challenge\n"
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def address_string(self) -> str:
            return "-"  # a Unix socket has none

        def log_message(self, *arguments: object) -> None:
            """Log nothing: Envoy's access log has the request."""

    server = _server(address, Handler)
    thread = threading.Thread(target=server.serve_forever, name="challenges", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        if isinstance(address, UnixAddress):
            address.path.unlink(missing_ok=True)


def _server(address: ListenAddress, handler: type[BaseHTTPRequestHandler]) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = _listening(address)
    return server


def _listening(address: ListenAddress) -> socket.socket:
    if isinstance(address, TcpAddress):
        return socket.create_server((address.host, address.port), family=ports.family_of(address.host))
    address.path.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    mask = os.umask(_OWNER_ONLY)
    try:
        listening.bind(str(address.path))
    finally:
        os.umask(mask)
    listening.listen()
    return listening
