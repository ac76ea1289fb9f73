"""One program of several: started, killed as a machine dies, told to stop as by an upgrade, started again."""

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
    """A program, stopped at first. `is_ready` says whether it wants requests."""

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
        """Begin; see `wait_until_ready`."""
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
        """Return when it wants requests."""

        def happened() -> bool:
            assert self._process is not None, "not running"
            assert self._process.poll() is None, self.log_text()
            return self._is_ready()

        until(happened, self.log_text()[-2000:])

    def kill(self) -> None:
        """End it and all below it at once, as when a machine loses its power."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Make it silent without closing a connection, as when a machine vanishes from the network."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def tell_to_stop(self) -> None:
        """Send SIGTERM; see `wait`."""
        assert self._process is not None, "not running"
        self._process.terminate()

    def wait(self) -> int:
        """Return when it has ended; its exit code."""
        assert self._process is not None, "not running"
        code = self._process.wait(_PATIENCE)
        self._process = None
        return code

    def stop(self) -> int:
        """Tell it to stop and wait until it has; its exit code."""
        self.tell_to_stop()
        return self.wait()

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not running"
        for pid in (self._process.pid, *descendants_of(self._process.pid)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def log_text(self) -> str:
        """Everything it wrote."""
        return self._log.read_text(encoding="utf-8")


def healthy_by_http(port: int) -> bool:
    """Whether `/healthz` at this port says yes."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_ASKING_SECONDS)
        with contextlib.closing(connection):
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
    return False


def healthy_by_grpc(port: int) -> bool:
    """Whether `grpc.health.v1` at this port says yes."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub = health_pb2_grpc.HealthStub(channel)  # type: ignore[no-untyped-call]
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_ASKING_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def asked_of_admin(place: Path, path: str) -> str:
    """What Envoy's admin interface on this Unix socket answers; nothing when there is nobody."""
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
