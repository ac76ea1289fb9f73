"""How the doctor connects to a gateway: never through a proxy on this machine; and its messages about errors."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.http_servers import serving
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class NotFound(BaseHTTPRequestHandler):
    """Answers 404, so that the test can see that it was reached."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class Quiet(ThreadingHTTPServer):
    """A server that logs no error about callers that it cannot parse."""

    def handle_error(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def server(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    with Quiet(("127.0.0.1", 0), NotFound) as running:
        if tls is not None:
            running.socket = tls.wrap_socket(running.socket, server_side=True)
        with serving(running):
            yield running.server_port


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


def said(url: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "portcullis", "doctor", "--url", url, *arguments],
        env={"PATH": os.environ["PATH"], "SSL_CERT_DIR": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def tls_server(authority: Authority, *, asks: bool = False) -> ssl.SSLContext:
    made = authority.identity("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.cert, made.key)
    if asks:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.cert)
    return context


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_local_gateway_is_never_requested_through_a_proxy(variable: str) -> None:
    with server() as port:
        line = said(f"http://localhost:{port}", **{variable: f"http://127.0.0.1:{free_port()}"})
    assert line.endswith("/.well-known/oauth-authorization-server answered 404")


def test_another_gateway_is_requested_through_the_proxy_of_the_environment() -> None:
    with server() as proxy:
        line = said("http://gate.example.com", HTTP_PROXY=f"http://127.0.0.1:{proxy}")
    assert line.endswith("answered 404")  # by the proxy: the name does not exist


def test_the_no_proxy_variable_is_respected() -> None:
    with server() as proxy:
        line = said("http://gate.invalid", HTTP_PROXY=f"http://127.0.0.1:{proxy}", NO_PROXY="gate.invalid")
    assert "answered 404" not in line


def test_tls_uses_the_authorities_of_the_environment(authority: Authority) -> None:
    with server(tls_server(authority)) as port:
        assert said(f"https://localhost:{port}", SSL_CERT_FILE=str(authority.cert)).endswith("answered 404")


@pytest.mark.parametrize(
    ("scheme", "with_tls", "meaning"),
    [
        ("https", False, "the port speaks plain HTTP, not TLS"),
        ("http", True, "as from a TLS listener that gets plain HTTP"),
        ("https", True, "its certificate is not trusted here"),
    ],
)
def test_the_wrong_kind_of_listener_is_reported(
    authority: Authority, scheme: str, with_tls: bool, meaning: str
) -> None:
    with server(tls_server(authority) if with_tls else None) as port:
        assert meaning in said(f"{scheme}://localhost:{port}")


def test_a_missing_client_certificate_is_reported_and_one_can_be_given(authority: Authority) -> None:
    mine = authority.identity("ada.example.com")
    with server(tls_server(authority, asks=True)) as port:
        url, trust = f"https://localhost:{port}", str(authority.cert)
        assert "give one with --cert and --key" in said(url, SSL_CERT_FILE=trust)
        given = ("--cert", str(mine.cert), "--key", str(mine.key))
        assert said(url, *given, SSL_CERT_FILE=trust).endswith("answered 404")


def test_a_local_gateway_that_does_not_run_is_reported(tmp_path: Path) -> None:
    line = said(f"http://localhost:{free_port()}", "--state-dir", str(tmp_path))
    assert line.endswith(f"; no gateway runs in {tmp_path}: start it with `portcullis up`")


def test_an_unreadable_client_certificate_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "portcullis", "doctor", "--cert", str(tmp_path / "none.pem")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == f"portcullis: --cert {tmp_path}/none.pem: No such file or directory\n"
