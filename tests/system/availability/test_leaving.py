"""The graceful shutdown of an authorization server: it reports that it drains, continues to serve, and finishes
requests.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import sys
from functools import partial
from typing import TYPE_CHECKING

from tests.support.ports import free_port
from tests.support.programs import until
from tests.system.availability.replicas import Replica, healthy_by_http

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.web_process import WebServer

_LONG = "60"
"""Seconds, longer than these tests wait for a process to end."""

_FORM = b"grant_type=refresh_token&client_id=nobody&refresh_token=none"


@contextlib.contextmanager
def another(web: WebServer, folder: Path, port: int, *, asked: bool = True) -> Iterator[Replica]:
    """One more process of it; no client checks its health unless `asked`."""
    replica = Replica(
        [sys.executable, "-m", "oauth_web"],
        {**web.environment, "WEB_LISTEN": f"127.0.0.1:{port}", "WEB_DRAIN_SECONDS": _LONG},
        folder / "web.log",
        partial(healthy_by_http if asked else listens, port),
    )
    try:
        replica.start()
        replica.wait_until_ready()
        yield replica
    finally:
        replica.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def get(port: int, path: str) -> tuple[int, str]:
    """The status, and the Connection header."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Connection", "")


def test_a_draining_server_reports_it_and_continues_to_serve(web: WebServer, tmp_path: Path) -> None:
    port = free_port()
    with another(web, tmp_path, port) as replica:
        assert get(port, "/.well-known/jwks.json") == (200, "")
        replica.tell_to_stop()
        until(lambda: get(port, "/healthz") == (503, "close"), "it to say so")
        assert get(port, "/.well-known/jwks.json") == (200, "close")
        assert replica.stop() == 0  # a second signal stops it at once
        assert not listens(port)


def test_requests_in_progress_are_finished_without_a_wait_if_no_client_checks_the_health(
    web: WebServer, tmp_path: Path
) -> None:
    port = free_port()
    with (
        another(web, tmp_path, port, asked=False) as replica,
        socket.create_connection(("127.0.0.1", port)) as caller,
    ):
        head = f"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(_FORM)}\r\n"
        caller.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n".encode() + _FORM[:10])
        # Connections are handled in turn, so with this answer it has begun with that one.
        assert get(port, "/.well-known/jwks.json")[0] == 200
        replica.tell_to_stop()
        until(lambda: not listens(port), "it to take nobody any more")
        caller.sendall(_FORM[10:])
        answer = b""
        while data := caller.recv(65536):
            answer += data
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 "))
        assert b'"error":' in answer
        assert replica.wait() == 0
