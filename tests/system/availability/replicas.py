"""One replica of a program: it can be started, killed as by a machine failure, stopped as by an upgrade, and
started again.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.processes import descendants_of
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

_PATIENCE = 60.0
_ASKING_SECONDS = 1.0


class Replica:
    """A program, stopped at first. `is_ready` returns whether it accepts requests."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        environment: Mapping[str, str],
        log: Path,
        is_ready: Callable[[], bool],
    ) -> None:
        self._command = command
        self._environment = environment
        self._log = log
        self._is_ready = is_ready
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; see `wait_until_ready`."""
        assert self._process is None, "already running"
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        """Return when it accepts requests."""

        def happened() -> bool:
            assert self._process is not None, "not running"
            assert self._process.poll() is None, self.log_text()
            return self._is_ready()

        until(happened, self.log_text()[-2000:])

    def kill(self) -> None:
        """Kill it and all its children at once, as by a power failure."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Suspend it without closing a connection, as when a machine disappears from the network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it."""
        self._signal(signal.SIGCONT)

    def tell_to_stop(self) -> None:
        """Send SIGTERM; see `wait`."""
        assert self._process is not None, "not running"
        self._process.terminate()

    def wait(self) -> int:
        """Return its exit code when it has ended."""
        assert self._process is not None, "not running"
        code = self._process.wait(_PATIENCE)
        self._process = None
        return code

    def stop(self) -> int:
        """Send SIGTERM and wait for its end. Return its exit code."""
        self.tell_to_stop()
        return self.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not running"
        for pid in (self._process.pid, *descendants_of(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log_text(self) -> str:
        """Its complete output."""
        return self._log.read_text(encoding="utf-8")


def healthy_by_http(port: int) -> bool:
    """Whether `/healthz` at this port answers that it is healthy."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASKING_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
    return False


def healthy_by_grpc(port: int) -> bool:
    """Whether `grpc.health.v1` at this port answers that it is healthy."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_ASKING_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def asked_of_admin(place: Path, path: str) -> str:
    """The answer of Envoy's admin interface on this Unix socket; empty if it does not run."""
    connection = http.client.HTTPConnection("admin", timeout=_ASKING_SECONDS)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(_ASKING_SECONDS)
    with contextlib.closing(connection):
        try:
            connection.sock.connect(str(place))
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.read().decode() if answer.status == 200 else ""
        except (OSError, http.client.HTTPException):
            return ""
