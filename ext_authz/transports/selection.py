"""The choice of the transport: our own HTTP/2, or gRPC's C core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ext_authz.grpc_http2.transport import Http2Transport

if TYPE_CHECKING:
    from ext_authz.service.server import CheckServer
    from oauth_core.settings import AuthzSettings


class Transport(Protocol):
    """Listens, and carries calls to a `CheckServer`."""

    async def start(self, address: str, settings: AuthzSettings) -> None:
        """Listen on `address` (`host:port` or `unix:/path`). Raises `ListenError`, or `OSError` for a TLS file."""

    async def stop(self, patience: float) -> None:
        """Accept no more calls, and give the open ones `patience` seconds."""


def select_transport(settings: AuthzSettings, check_server: CheckServer) -> Transport:
    """Return the configured transport, not listening yet."""
    if settings.authz_transport == "grpcio":
        from ext_authz.transports.grpc_aio import GrpcTransport  # noqa: PLC0415 - large, and seldom wanted

        return GrpcTransport(check_server)
    return Http2Transport(check_server)
