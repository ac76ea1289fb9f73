"""The fast transport: an HTTP/2 server on the event loop, with TLS, limits and a graceful shutdown."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import TYPE_CHECKING

from ext_authz.grpc_http2 import refused_connections
from ext_authz.grpc_http2.connection import Connection
from ext_authz.grpc_http2.grpc_services import Calls
from ext_authz.grpc_http2.limits import BACKLOG
from ext_authz.net.listen_addresses import cannot_listen, parse
from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import TcpAddress
from oauth_core.process import ports

if TYPE_CHECKING:
    from ext_authz.service.server import CheckServer
    from oauth_core.settings import AuthzSettings

_SWEEP_SECONDS = 10.0


class Http2Transport:
    """A listening server. Belongs to one event loop."""

    def __init__(self, check_server: CheckServer) -> None:
        self._calls = Calls(check_server)
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self, address: str, settings: AuthzSettings) -> None:
        """Listen on `address` (`host:port` or `unix:/path`).

        Raises `ListenError`, or `OSError` or `SettingsError` for a TLS file.
        """
        context = _tls(settings)
        listening = _listen(address)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self._calls, self._connections), sock=listening, ssl=context, backlog=BACKLOG
        )
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self, patience: float) -> None:
        """Accept no more calls, and give the open ones `patience` seconds."""
        if self._server is not None:
            self._server.close()
        try:
            async with asyncio.timeout(patience):
                while self._connections:  # again, because one may have opened meanwhile
                    for connection in list(self._connections):
                        connection.start_drain()
                    await asyncio.wait([connection.ended for connection in self._connections])
        except TimeoutError:
            for connection in list(self._connections):
                connection.close()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            for connection in list(self._connections):
                connection.sweep()


def _listen(address: str) -> socket.socket:
    listen_address = parse(address)
    if not isinstance(listen_address, TcpAddress):
        found: socket.socket = socket.socket(socket.AF_UNIX)
        where: str | tuple[str, int] = str(listen_address.path)
    else:
        found = socket.socket(ports.family_of(listen_address.host))
        where = (listen_address.host, listen_address.port)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it: the connection to a vanished machine ends.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        # The parent has checked that only workers of this service share the port.
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if listen_address.host == "::":
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    try:
        found.bind(where)
    except OSError:
        found.close()
        raise cannot_listen(address) from None
    return found


def _tls(settings: AuthzSettings) -> ssl.SSLContext | None:
    if settings.authz_tls_cert is None or settings.authz_tls_key is None:
        return None
    authorities = settings.authz_tls_client_ca
    for file in filter(None, (settings.authz_tls_cert, settings.authz_tls_key, authorities)):
        file.read_bytes()  # its error names the file, OpenSSL's does not
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslobject_class = refused_connections.Handshake
    # The requirements of RFC 9113 section 9.2 for TLS 1.2. TLS 1.3 meets them in any case.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2"])
    try:
        context.load_cert_chain(settings.authz_tls_cert, settings.authz_tls_key)
    except ssl.SSLError:
        raise SettingsError(["check.tls_cert, check.tls_key: are no certificate and its key in PEM"]) from None
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError:
            raise SettingsError(["check.tls_client_ca: is no certificate in PEM"]) from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context
