"""Ways to ask a child whether it is ready. Each is a value, so that plans can be compared."""

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

from portcullis.certificates.folder import CertificateFolder, FolderError

if TYPE_CHECKING:
    from pathlib import Path

PROBE_SECONDS = 2.0
"""One question may take this long; it is asked again until the child's time is up."""

_SERVER_ERROR = 500

_CERTIFICATE_REQUIRED = "CERTIFICATE_REQUIRED"
"""The TLS alert to a caller that shows no certificate, as OpenSSL spells it (RFC 8446 section 6.2)."""


class Probe(Protocol):
    """A question to one child."""

    async def __call__(self) -> str | None:
        """Ask once. `None` means ready; otherwise what is missing, in a few words. Never raises for a refusal."""
        ...


@dataclass(frozen=True, slots=True)
class RedisProbe:
    """Redis answers PING to the user that the password belongs to."""

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
    """An HTTP GET over a Unix socket gets an answer: 200 when `healthy` is asked for, else any below 500."""

    socket: Path
    path: str
    healthy: bool = True

    async def __call__(self) -> str | None:
        # There is no TLS here. Reading every authority's certificate for it would be half the work of `up`.
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

    `address` is where Envoy listens (`host:port`) and `url` the service's public URL, whose name need not
    resolve on this machine. Behind TLS the certificate is not looked at: whether the gateway answers
    is one question, whether the authority has signed already another. With `client_required` Envoy turns away
    callers without a certificate of theirs, of which there is none here: then that refusal, by a TLS alert, is the
    answer that is waited for.
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
    """There is a certificate in the folder that is good now and carries every one of the names."""

    folder: Path
    names: tuple[str, ...]

    async def __call__(self) -> str | None:
        try:
            certificate = await asyncio.to_thread(CertificateFolder(self.folder).certificate)
        except FolderError as error:
            return str(error)
        if certificate is None or not certificate.names.issuperset(self.names):
            return "no certificate from the authority yet"
        return None if certificate.validity.is_good(time.time()) else "the certificate is not good now"
