"""A proxy that adds a token to every request, for programs that cannot send one."""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import httpx2

from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

_OWN = frozenset({"host", "connection", "content-length", "transfer-encoding", "content-encoding"})


@contextmanager
def adding_token(url: str, token: str | None) -> Iterator[str]:
    """The URL of a proxy to the one endpoint `url`; without `token` it adds nothing."""
    with httpx2.Client(timeout=60) as client:

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def pass_on(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                # A header that is sent must not begin or end with blanks, even if it arrived so.
                sent = [(name, value.strip()) for name, value in self.headers.items() if name.lower() not in _OWN]
                if token is not None:
                    sent.append(("Authorization", f"Bearer {token}"))
                with client.stream(self.command, url, content=body or None, headers=sent) as answer:
                    self.send_response(answer.status_code)
                    for name, value in answer.headers.items():
                        if name.lower() not in _OWN:
                            self.send_header(name, value)
                    self.send_header("Transfer-Encoding", "chunked")
                    self.end_headers()
                    with contextlib.suppress(OSError, httpx2.HTTPError):
                        for piece in answer.iter_raw():
                            self._chunk(piece)
                        self._chunk(b"")

            do_GET = do_POST = do_PUT = do_DELETE = pass_on  # noqa: N815 - the names the base class looks for

            def _chunk(self, data: bytes) -> None:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                self.wfile.flush()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        with serving(server):
            yield f"http://127.0.0.1:{server.server_port}/mcp"
