"""Readiness probes of children. Each is a value, so that plans can be compared."""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import grpc.aio
import httpx2
from grpc_health.v1 import health_pb2
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from oauth_core.process import file_lock
from portcullis.certificates.folder import CertificateFolder, FolderError

if TYPE_CHECKING:
    from pathlib import Path

PROBE_SECONDS = 2.0
"""The timeout of one probe; probes are repeated until the child's own timeout."""

_SERVER_ERROR = 500

_CERTIFICATE_REQUIRED = "CERTIFICATE_REQUIRED"
"""The TLS alert to a caller without a certificate, as OpenSSL writes it (RFC 8446 section 6.2)."""


class Probe(Protocol):
    """A readiness probe of one child."""

    async def __call__(self) -> str | None:
        """Probe once. Return `None` if the child is ready, else what is missing. A refusal does not raise."""
        ...


@dataclass(frozen=True, slots=True)
class RedisProbe:
    """Redis answers PING to the user of this password."""

    url: str
    password_file: Path

    async def __call__(self) -> str | None:
        try:
            password = (await asyncio.to_thread(self.password_file.read_text)).strip()
            async with Redis.from_url(
                self.url, password=password, socket_timeout=PROBE_SECONDS, retry=Retry(NoBackoff(), 0)
            ) as redis:
                await redis.ping()
        except (RedisError, OSError) as error:
            return f"Redis: {error}"
        return None


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """An HTTP GET over a Unix socket gets 200 (with `healthy`), or any status below 500."""

    socket: Path
    path: str
    healthy: bool = True

    async def __call__(self) -> str | None:
        # No TLS here: reading the certificate of every authority would be half the work of `up`.
        transport = httpx2.AsyncHTTPTransport(uds=str(self.socket), verify=False)
        try:
            async with (
                httpx2.AsyncClient(transport=transport, trust_env=False, timeout=PROBE_SECONDS) as client,
                client.stream("GET", f"http://localhost{self.path}") as answer,
            ):
                status = answer.status_code
        except httpx2.HTTPError as error:
            return f"{self.path}: {str(error) or type(error).__name__}"
        ready = status == httpx2.codes.OK if self.healthy else status < _SERVER_ERROR
        return None if ready else f"{self.path} answers {status}"


@dataclass(frozen=True, slots=True)
class GrpcProbe:
    """`grpc.health.v1.Health/Check` answers SERVING over every one of these Unix sockets."""

    sockets: tuple[Path, ...]

    async def __call__(self) -> str | None:
        answers = await asyncio.gather(*(self._ask(socket) for socket in self.sockets))
        return next((missing for missing in answers if missing is not None), None)

    @staticmethod
    async def _ask(socket: Path) -> str | None:
        async with grpc.aio.insecure_channel(
            f"unix:{socket}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            check = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            try:
                answer = await check(health_pb2.HealthCheckRequest(), timeout=PROBE_SECONDS)
            except grpc.aio.AioRpcError as error:
                return f"gRPC health: {error.code().name}"
        if answer.status == health_pb2.HealthCheckResponse.SERVING:
            return None
        return f"gRPC health: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


@dataclass(frozen=True, slots=True)
class ChallengeProbe:
    """A call to a service without a token, through Envoy, is refused with 401 and a challenge.

    `address` is Envoy's listener (`host:port`) and `url` the service's public URL, whose name need not resolve on
    this machine. With TLS the certificate is not verified, because the authority may not have signed it yet. With
    `client_required` Envoy refuses callers without a client certificate, and the probe has none: then that TLS
    alert means ready.
    """

    address: str
    url: str
    tls: bool = False
    client_required: bool = False

    async def __call__(self) -> str | None:
        public = httpx2.URL(self.url)
        headers = {
            "Host": public.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        try:
            async with httpx2.AsyncClient(timeout=PROBE_SECONDS, trust_env=False, verify=False) as client:
                answer = await client.post(
                    f"{'https' if self.tls else 'http'}://{self.address}{public.path}",
                    headers=headers,
                    extensions={"sni_hostname": public.host},
                    json={"jsonrpc": "2.0", "id": 1, "method": "ping"},
                )
        except (httpx2.HTTPError, ssl.SSLError) as error:
            if self.client_required and _CERTIFICATE_REQUIRED in str(error).upper():
                return None
            return f"through Envoy: {str(error) or type(error).__name__}"
        if answer.status_code == httpx2.codes.UNAUTHORIZED and "WWW-Authenticate" in answer.headers:
            return None
        return f"through Envoy: {answer.status_code} instead of 401 with a challenge"


@dataclass(frozen=True, slots=True)
class CertificateProbe:
    """The folder has a certificate that is valid now and has all the names."""

    folder: Path
    names: tuple[str, ...]

    async def __call__(self) -> str | None:
        try:
            certificate = await asyncio.to_thread(CertificateFolder(self.folder).certificate)
        except FolderError as error:
            return str(error)
        if certificate is None or not certificate.names.issuperset(self.names):
            return "no certificate from the authority yet"
        return None if certificate.validity.is_good(time.time()) else "the certificate is not valid now"


@dataclass(frozen=True, slots=True)
class LockProbe:
    """A process holds the lock file."""

    path: Path

    async def __call__(self) -> str | None:
        return None if await asyncio.to_thread(file_lock.is_held, self.path) else "it does not hold its folder yet"
