"""The check service as a separate process, `python -m ext_authz`, and the data that it reads in Redis."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from oauth_core.store import keyspace
from oauth_core.store.client_cache.token_status import CHECK_ACL
from tests.support import forks
from tests.support.master_key import CHECK_KEYS, published

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from redis import Redis

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.redis_server import RedisServer

_PATIENCE = 60.0
# The service may not listen yet at the first attempt, and gRPC would then wait a second.
_CHANNEL_OPTIONS = tuple((f"grpc.{name}_reconnect_backoff_ms", 50) for name in ("initial", "min", "max"))
CHECK = "/envoy.service.auth.v3.Authorization/Check"
CONFIG = """\
issuer = "http://localhost:8080"

[[services]]
name = "time"
url = "/time/mcp"
upstream = "http://127.0.0.1:1/mcp"

[[services]]
name = "notes"
url = "/notes/mcp"
upstream = "http://127.0.0.1:2/mcp"
"""
PASSWORD = "check-password-of-tests"
PATIENT = {"REDIS_TIMEOUT": "30", "REVOCATION_BOUND": "30"}
"""The largest values of both settings: with less, calls are rightly refused when a worker waits for the processor
for the bound. All check services of tests have them, except in tests of outages.
"""
HASTY = {"REDIS_TIMEOUT": "0.3", "REVOCATION_BOUND": "1"}
"""For tests of outages: data that a check service has read is valid for a second."""
USERS = {"check": ("on", f">{PASSWORD}", *CHECK_ACL)}
"""The user of the check service, with the same rights as in production."""

Issue = Callable[..., str]
"""Issues a token that the check service allows, with these claims changed."""


def environ(redis: RedisServer, **more: str) -> dict[str, str]:
    """Settings of a check service that uses `redis` as its user in `USERS`."""
    return {
        **CHECK_KEYS,
        "REDIS_URL": redis.url(user="check"),
        "REDIS_PASSWORD": PASSWORD,
        **more,
    }


def publish(redis: RedisServer, *keys: SigningKey) -> None:
    """Publish these keys and no others."""
    with redis.client() as client:
        client.set(keyspace.JWKS, published(*keys))
        wait_for_news(client)


def remember(redis: RedisServer, jti: str) -> None:
    """Make the token `jti` alive."""
    with redis.client() as client:
        client.set(keyspace.token(jti), "grant-1", ex=600)


def end_token(client: Redis, jti: str) -> None:
    """Delete the token `jti`, as an operator does."""
    assert client.delete(keyspace.token(jti)) == 1
    wait_for_news(client)


def wait_for_news(client: Redis) -> None:
    """Return once Redis has sent the changes of this client to every check service.

    Redis may answer the client that changes a key before it writes to the connections that track the key. When
    it answers the client's next command, it has written to all of them.
    """
    assert client.ping()


def check_call(channel: grpc.Channel) -> grpc.UnaryUnaryMultiCallable[bytes, bytes]:
    """The method `Check` on this channel, with bytes as messages."""
    return channel.unary_unary(CHECK)


class AuthzProcess:
    """A check service, and a gRPC client of it."""

    def __init__(self, process: forks.Fork | subprocess.Popen[bytes], address: str, log: Path) -> None:
        self.process = process
        self.address = address
        self._log = log
        self.channel = grpc.insecure_channel(address, options=_CHANNEL_OPTIONS)

    def check(self, message: bytes, **options: Any) -> bytes:
        """Call `Check`, or another `method`, with exactly these bytes. Raises `grpc.RpcError`."""
        answer: bytes = self.start_check(message, **options).result()
        return answer

    def start_check(self, message: bytes, *, method: str = CHECK, **options: Any) -> Any:
        """Call `Check`, or another `method`, without waiting. Return a future."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(method)
        return call.future(message, timeout=_PATIENCE, wait_for_ready=True, **options)

    def health(self, service: str = "") -> str:
        """The name of the health status, or of the gRPC error instead."""
        try:
            answer = health_pb2_grpc.HealthStub(self.channel).Check(  # type: ignore[no-untyped-call]
                health_pb2.HealthCheckRequest(service=service), timeout=_PATIENCE, wait_for_ready=True
            )
        except grpc.RpcError as error:
            return str(error.code().name)
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)

    def wait_for_health(self, wanted: str) -> None:
        """Return when the health status is `wanted`; fail if it does not become so."""
        deadline = time.monotonic() + _PATIENCE
        while (seen := self.health()) != wanted:
            assert time.monotonic() < deadline, f"{seen}, not {wanted}\n{self.log_text()}"
            assert self.process.poll() is None, self.log_text()
            time.sleep(0.02)

    def log_text(self) -> str:
        """All its output, standard error included."""
        return self._log.read_text(encoding="utf-8")

    def log(self) -> list[dict[str, Any]]:
        """Its log events.

        An incomplete line is left out: it is being written now, or its worker was killed while it wrote.
        """
        return [event for line in self.log_text().splitlines() if (event := _event(line)) is not None]

    def terminate(self) -> int:
        """Stop it. Return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_PATIENCE)


def _event(line: str) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


@contextmanager
def running_authz(
    variables: Mapping[str, str], *, config: str = CONFIG, stdout: int | None = None
) -> Iterator[AuthzProcess]:
    """A check service that listens on a Unix socket, with these variables. It may not be serving yet.

    A test about an outage of Redis adds `HASTY`.
    `stdout` is a file descriptor in place of the log file.
    """
    with tempfile.TemporaryDirectory(prefix="authz-") as name:
        folder = Path(name)
        address = variables.get("AUTHZ_LISTEN", f"unix:{folder}/authz.sock")
        (folder / "portcullis.toml").write_text(config, encoding="utf-8")
        log = folder / "log"
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PORTCULLIS_CONFIG": str(folder / "portcullis.toml"),
            "AUTHZ_LISTEN": address,
            "AUTHZ_WORKERS": "1",
            **PATIENT,
            **CHECK_KEYS,
            **variables,
        }
        process: forks.Fork | subprocess.Popen[bytes]
        if stdout is None:
            process = forks.start("ext_authz", environment=environment, log=log, folder=folder)
        else:
            with log.open("wb") as errors:
                process = subprocess.Popen(
                    [sys.executable, "-P", "-m", "ext_authz"],
                    env=environment,
                    cwd=folder,  # not where the sources happen to be
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=errors,
                )
        service = AuthzProcess(process, address, log)
        try:
            yield service
        finally:
            service.channel.close()
            if process.poll() is None:
                process.kill()
            process.wait()
