"""The portable transport: `grpc.aio`, with health, reflection, limits and a graceful shutdown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_service  # type: ignore[attr-defined] # documented, not in `__all__`
from grpc_reflection.v1alpha import reflection

from ext_authz.answers.envoy_processing import PROCESSOR, UnreadableError
from ext_authz.answers.filtered_answer import FilteredAnswer
from ext_authz.decision.envoy_refusals import LOGS_SERVICE, UnreadableReportError
from ext_authz.generated import envoy_ext_authz_pb2
from ext_authz.grpc_http2.limits import LARGEST_MESSAGE
from ext_authz.net.listen_addresses import cannot_listen
from ext_authz.service.health import CHECK_SERVICE, NAMES

if TYPE_CHECKING:
    from ext_authz.answers.answer_filter import AnswerFilter
    from ext_authz.service.health import Health
    from ext_authz.service.server import CheckServer
    from oauth_core.settings import AuthzSettings

if TYPE_CHECKING:
    _Context = grpc.aio.ServicerContext[bytes, bytes]

_IDENTITY_ONLY = 1
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    # Only an attacker compresses a Check, to make this server unpack a bomb.
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ("grpc.max_concurrent_streams", 1024),
    # The parent has checked that only workers of this service share the port.
    ("grpc.so_reuseport", 1),
    # Envoy may ping an idle connection; by default gRPC treats that as an attack and closes it.
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class _Servicer(health_service.HealthServicer):
    """Answers health checks, and records that they happen."""

    def __init__(self, health: Health) -> None:
        super().__init__()
        self._health = health

    async def Check(  # noqa: N802 - gRPC's name
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> Any:
        """See `grpc.health.v1.Health/Check`."""
        self._health.record_health_check()
        return await super().Check(request, context)


class GrpcTransport:
    """A listening gRPC server."""

    def __init__(self, check_server: CheckServer) -> None:
        self._health = check_server.health
        self._servicer = _Servicer(self._health)
        self._server = grpc.aio.server(options=_OPTIONS)
        self._following: asyncio.Task[None] | None = None
        check = check_server.authorizer.check

        # As a stream, because grpcio never answers a unary call without a whole message. And no deserializer: the
        # authorizer answers a message that cannot be decoded, like any other.
        async def handle(_messages: object, context: _Context) -> bytes:
            message: object = await context.read()
            if not isinstance(message, bytes):
                await context.abort(grpc.StatusCode.INTERNAL, "the request is not one whole message")
            return await check(message)

        async def export(message: bytes, context: _Context) -> bytes:
            try:
                return check_server.envoy_refusals.report(message)
            except UnreadableReportError:
                return await context.abort(grpc.StatusCode.INTERNAL, "the request cannot be decoded")

        async def process(_messages: object, context: _Context) -> None:
            await _process(check_server.answers, context)

        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Check": grpc.stream_unary_rpc_method_handler(handle)
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(CHECK_SERVICE, handlers),))
        exports: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Export": grpc.unary_unary_rpc_method_handler(export)
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(LOGS_SERVICE, exports),))
        processes: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Process": grpc.stream_stream_rpc_method_handler(process)
        }
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(PROCESSOR, processes),))
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, self._server)  # type: ignore[no-untyped-call]
        described = envoy_ext_authz_pb2.DESCRIPTOR.services_by_name["Authorization"].full_name
        reflection.enable_server_reflection(
            (described, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
            self._server,
        )  # type: ignore[no-untyped-call]

    async def start(self, address: str, settings: AuthzSettings) -> None:
        """Listen on `address` (`host:port` or `unix:/path`). Raises `ListenError`, or `OSError` for a TLS file."""
        try:
            bound = self._bind(address, settings)
        except RuntimeError:
            bound = 0
        if not bound:
            raise cannot_listen(address)
        await _report(self._servicer, is_serving=False)
        await self._server.start()
        self._following = asyncio.create_task(_follow(self._health, self._servicer))

    async def stop(self, patience: float) -> None:
        """Accept no more calls, and give the open ones `patience` seconds."""
        await self._servicer.enter_graceful_shutdown()
        await self._server.stop(patience)
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)

    def _bind(self, address: str, settings: AuthzSettings) -> int:
        if settings.authz_tls_cert is None or settings.authz_tls_key is None:
            return self._server.add_insecure_port(address)
        authorities = settings.authz_tls_client_ca
        identity = (settings.authz_tls_key.read_bytes(), settings.authz_tls_cert.read_bytes())
        credentials = grpc.ssl_server_credentials(
            [identity],
            root_certificates=authorities.read_bytes() if authorities else None,
            require_client_auth=authorities is not None,
        )
        return self._server.add_secure_port(address, credentials)


async def _process(answers: AnswerFilter, context: _Context) -> None:
    """Filter one answer. The stream ends with OK only if Envoy has all of it."""
    expired = asyncio.Event()
    late: list[bytes] = []

    def expire(message: bytes) -> None:
        late.append(message)
        expired.set()

    answer = FilteredAnswer(answers, expire)
    waiting = asyncio.create_task(expired.wait())
    try:
        while True:
            reading = asyncio.ensure_future(context.read())
            await asyncio.wait((reading, waiting), return_when=asyncio.FIRST_COMPLETED)
            if late:
                reading.cancel()
                await context.write(late.pop())
                return
            message: object = await reading
            if not isinstance(message, bytes):
                break
            for found in answer.take(message):
                await context.write(found)
            while answer.is_late:
                for found in await answer.catch_up():
                    await context.write(found)
        if not answer.is_over:
            await context.abort(grpc.StatusCode.INTERNAL, "the stream ended before the answer")
    except UnreadableError:
        await context.abort(grpc.StatusCode.INTERNAL, "the request cannot be decoded")
    finally:
        waiting.cancel()
        answer.close()


async def _follow(health: Health, servicer: health_service.HealthServicer) -> None:
    async for is_serving in health.follow():
        await _report(servicer, is_serving=is_serving)


async def _report(servicer: health_service.HealthServicer, *, is_serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in NAMES:
        await servicer.set(name, status)
