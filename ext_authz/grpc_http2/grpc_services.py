"""The gRPC calls of the check service: checks, answers, reports, health. They handle messages, not transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from ext_authz.answers.envoy_processing import PROCESSOR
from ext_authz.decision.envoy_refusals import LOGS_SERVICE, UnreadableReportError
from ext_authz.decision.fair_queue import FairQueue
from ext_authz.grpc_http2.grpc_frames import DEADLINE_EXCEEDED, INTERNAL, NOT_FOUND, RESOURCE_EXHAUSTED, CallError
from ext_authz.grpc_http2.limits import MOST_LARGE
from ext_authz.service.health import NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from ext_authz.decision.check import PendingCheck
    from ext_authz.service.server import CheckServer

EXPORT = f"/{LOGS_SERVICE}/Export".encode()
PROCESS = f"/{PROCESSOR}/Process".encode()
HEALTH_CHECK = b"/grpc.health.v1.Health/Check"
HEALTH_WATCH = b"/grpc.health.v1.Health/Watch"


class Calls:
    """The calls that one worker answers."""

    def __init__(self, check_server: CheckServer) -> None:
        self.check_now = check_server.authorizer.check_now
        self.answers = check_server.answers
        self._finish = check_server.authorizer.finish
        self._health = check_server.health
        self._large = FairQueue(MOST_LARGE)
        self._envoy_refusals = check_server.envoy_refusals

    async def finish_in_time(self, pending: PendingCheck, seconds: float | None) -> bytes:
        """Return the answer to a check that has to wait.

        Raises `CallError` at the caller's deadline: an old decision must not be used.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._finish(pending)
        except TimeoutError:
            raise CallError(DEADLINE_EXCEEDED, "the deadline has passed") from None

    async def check_large(self, message: bytes, seconds: float | None) -> bytes:
        """Return the answer to a large message, which waits until the present small ones were answered."""
        try:
            async with asyncio.timeout(seconds):
                if not await self._large.wait(None):
                    raise CallError(RESOURCE_EXHAUSTED, "too many large requests wait")
                answer = self.check_now(message)
                return answer if isinstance(answer, bytes) else await self._finish(answer)
        except TimeoutError:
            raise CallError(DEADLINE_EXCEEDED, "the deadline has passed") from None

    def health(self, message: bytes) -> bytes:
        """Return the answer to `grpc.health.v1.Health/Check`. Raises `CallError`."""
        if _asked_for(message) not in NAMES:
            raise CallError(NOT_FOUND, "there is no such service")
        self._health.record_health_check()
        return _state(is_serving=self._health.is_serving)

    def export(self, message: bytes) -> bytes:
        """Return the answer to `LogsService/Export` of OTLP: refusals of Envoy. Raises `CallError`."""
        try:
            return self._envoy_refusals.report(message)
        except UnreadableReportError:
            raise CallError(INTERNAL, "the request cannot be decoded") from None

    def watch(self, message: bytes) -> AsyncGenerator[bytes]:
        """Yield the answers to `grpc.health.v1.Health/Watch`, until this process drains. Raises `CallError`."""
        return self._follow(_asked_for(message))

    async def _follow(self, name: str) -> AsyncGenerator[bytes]:
        if name not in NAMES:
            yield health_pb2.HealthCheckResponse(
                status=health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            ).SerializeToString()
        async for is_serving in self._health.follow():
            if name in NAMES:
                yield _state(is_serving=is_serving)


def _asked_for(message: bytes) -> str:
    try:
        name: str = health_pb2.HealthCheckRequest.FromString(message).service
    except DecodeError:
        raise CallError(INTERNAL, "the request cannot be decoded") from None
    return name


def _state(*, is_serving: bool) -> bytes:
    status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
    encoded: bytes = health_pb2.HealthCheckResponse(status=status).SerializeToString()
    return encoded
