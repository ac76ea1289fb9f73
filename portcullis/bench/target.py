"""The measured services: their address and processes, and how Portcullis itself is started as one."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2

from oauth_core.process.ports import free_port
from portcullis.bench import children
from portcullis.bench.plan import Target
from portcullis.supervisor.environment import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from portcullis.bench.fixture import BenchFixture
    from portcullis.bench.request_builder import Body

OURS = "portcullis"
VARIANTS = {
    "tool-rules": "with tool rules",
    "metrics": "with metrics",
    "audit": "with the audit record",
    "second-worker": "with a second worker",
    "no-answer-filters": "without the filters on answers",
    "lists": "lists, filtered",
}
"""Variants of our own service, and the name of each in the report."""

_BODIES: dict[str, Body] = {"tool-rules": "call", "lists": "list"}
WITH_RULES = frozenset(_BODIES)
"""Variants whose fixture has tool rules (`BenchFixture.with_tool_rules`)."""
_HEALTH_SECONDS = 2.0
_CACHED_TOKENS = 100_000


@dataclass
class MeasuredService:
    """One server under measurement. `processes` are the roots of its process trees by role, as far as known."""

    name: str
    target: Target
    pool: Path
    processes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ServiceOptions:
    """Options of the check service; `None` leaves the default."""

    transport: str | None = None
    workers: int | None = None
    variant: str | None = None

    def arguments(self) -> list[str]:
        """Return the options as command-line arguments of `python -m ext_authz`."""
        workers = (self.workers or 1) + 1 if self.variant == "second-worker" else self.workers
        given = {"--transport": self.transport, "--workers": workers}
        return [str(part) for name, value in given.items() if value is not None for part in (name, value)]


@contextmanager
def portcullis(fixture: BenchFixture, options: ServiceOptions, url: str) -> Iterator[MeasuredService]:
    """The check service of this installation, on a free loopback port. Raises `BenchFixtureError`.

    With tool rules its fixture must have some (`BenchFixture.with_tool_rules`).
    """
    name = VARIANTS[options.variant] if options.variant else OURS
    address = f"127.0.0.1:{free_port()}"
    environment = plain(os.environ) | {
        "PORTCULLIS_CONFIG": str(fixture.config),
        "AUTHZ_LISTEN": address,
        "JWKS_VERIFICATION_KEY": fixture.jwks_verification_key,
        "SESSION_KEY": fixture.session_key,
        "REDIS_URL": fixture.redis_url,
        "RUN_DIR": str(fixture.folder),
        # As an operator with so many tokens would set it.
        "CACHED_TOKENS": str(max(_CACHED_TOKENS, fixture.tokens)),
    }
    if options.variant == "metrics":
        environment["METRICS_LISTEN"] = f"unix:{fixture.folder}/metrics.sock"
    if options.variant == "audit":
        environment["AUDIT_DIR"] = f"{fixture.folder}/audit"
    command = [sys.executable, "-m", "ext_authz", *options.arguments()]
    target = Target(address, "check", url, body=_BODIES.get(options.variant or "", ""))
    with children.running(name, command, environment, fixture.folder, lambda: is_serving(address)) as pid:
        yield MeasuredService(name, target, fixture.pool, {"service": pid, "redis": fixture.redis_pid})


def is_serving(address: str) -> bool:
    """Whether `grpc.health.v1` reports SERVING there."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_SECONDS)
        except grpc.RpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
