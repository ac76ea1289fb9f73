"""A real Envoy, started with a configuration and stopped again, and a client that can send any bytes to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from portcullis.envoy_config import SYSTEM_CAS, render
from tests.support.envoy import envoy_path
from tests.support.ports import free_port as free_port  # noqa: PLC0414 - tests take it from here too

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from oauth_core.settings import EnvoySettings

_STARTING_SECONDS = 60
Change = Callable[[dict[str, Any]], None]
_LONGEST_ANSWER = 60


@dataclass(frozen=True)
class Answer:
    """A response, read to its end. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @cached_property
    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Gate:
    """A running Envoy: the port it listens on, the host of its issuer, its log and its process."""

    port: int
    host: str
    log: Path
    pid: int

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterator[bytes] | None = None,
    ) -> Answer:
        """Send a request with exactly this path. Bodies are JSON; an iterator as body is sent in chunks."""
        with contextlib.closing(self.connect()) as connection:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            connection.putheader("Host", self.host if host is None else host)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if body is not None and "content-type" not in {name.lower() for name in headers or {}}:
                connection.putheader("Content-Type", "application/json")
            if isinstance(body, bytes):
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
            elif body is not None:
                connection.putheader("Transfer-Encoding", "chunked")
                connection.endheaders(body, encode_chunked=True)
            else:
                connection.endheaders()
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())

    def connect(self) -> http.client.HTTPConnection:
        """A connection, for a test that reads a response piece by piece."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=_LONGEST_ANSWER)

    def head(self, method: str, target: str, *lines: str) -> bytes:
        """The head of an HTTP/1.1 request with these lines, written without validation."""
        first = (f"{method} {target} HTTP/1.1", f"Host: {self.host}", "Connection: close")
        return "\r\n".join((*first, *lines, "", "")).encode()

    def raw(self, request: bytes) -> bytes:
        """Send these bytes unchanged. Return the received bytes when Envoy closes the connection."""
        answer = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=_LONGEST_ANSWER) as connection:
            connection.sendall(request)
            with contextlib.suppress(ConnectionResetError):
                while data := connection.recv(65536):
                    answer += data
        return answer


def unchanged(_: dict[str, Any]) -> None:
    """The unchanged configuration of the HTTP connection manager."""


def never_refill(part: Any) -> None:
    """Make every token bucket in `part` never refill, so that the speed of a test makes no difference."""
    match part:
        case {"fill_interval": _}:
            part["fill_interval"] = "3600s"
        case dict():
            never_refill(list(part.values()))
        case list():
            for each in part:
                never_refill(each)


@contextlib.contextmanager
def running(
    settings: EnvoySettings, folder: Path, *, trusted_cas: str = SYSTEM_CAS, change: Change = unchanged
) -> Iterator[Gate]:
    """Run Envoy for these settings until the context ends; `envoy_admin` must be a Unix socket."""
    config = folder / "envoy.json"
    rendered: Any = render(settings, trusted_cas=trusted_cas)
    for listener in rendered["static_resources"]["listeners"]:
        change(listener["filter_chains"][0]["filters"][-1]["typed_config"])
    config.write_text(json.dumps(rendered), encoding="utf-8")
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warn")
    log = folder / "envoy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [envoy_path(), "-c", config, *options, "--file-flush-interval-msec", "50"],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_ready(process, settings.envoy_admin.removeprefix("unix:"), log)
            port = int(settings.envoy_listen[0].rpartition(":")[2])
            yield Gate(port, settings.issuer.partition("://")[2], log, process.pid)
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], admin: str, log: Path) -> None:
    deadline = time.monotonic() + _STARTING_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"Envoy ended at once:\n{log.read_text(encoding='utf-8')}")
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(admin)
            probe.sendall(b"GET /ready HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
            if b" 200 " in probe.recv(64):
                return
        time.sleep(0.02)
    raise AssertionError(f"Envoy is not ready:\n{log.read_text(encoding='utf-8')}")
