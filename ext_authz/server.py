"""The gRPC transport: `grpc.aio`, health, limits and an orderly end. It carries bytes and decides nothing."""

from __future__ import annotations

import asyncio
import errno
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health  # type: ignore[attr-defined] # documented, but not in `__all__`

from ext_authz.assembly import assembled

if TYPE_CHECKING:
    from ext_authz.assembly import Assembled
    from ext_authz.check import Authorizer
    from oauth_core.audit import AuditSink
    from oauth_core.settings import AuthzSettings

SERVICE = "envoy.service.auth.v3.Authorization"
LARGEST_MESSAGE = 1024 * 1024
"""Bytes of a Check. Envoy's own limit on all headers together is 60 KiB unless it is raised."""

DRAIN_SECONDS = 5.0
"""How long checks that are under way may take to finish once the process is told to stop."""

_ADDRESS = re.compile(r"unix:/.+|(?:\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/]+):\d{1,5}")
_IDENTITY_ONLY = 1
_OPTIONS = (
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    # Nobody compresses a Check but somebody who wants us to unpack a bomb.
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ("grpc.max_concurrent_streams", 1024),
    # A second process on the same port is a mistake that must show, not a way to share the load unasked.
    ("grpc.so_reuseport", 0),
    # Envoy may ping an idle connection; by default gRPC takes that for an attack and closes it.
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.keepalive_permit_without_calls", 1),
)


class ListenError(Exception):
    """The address cannot be listened on. The message is one readable line."""


async def serve(settings: AuthzSettings, audit: AuditSink) -> None:
    """Answer checks until SIGTERM or SIGINT, then finish those under way.

    Raises `ListenError`, and `SettingsError` for an address of Redis that is none.
    """
    servicer = health.HealthServicer()
    await _report(servicer, is_serving=False)
    async with assembled(settings, audit, lambda fresh: _report(servicer, is_serving=fresh)) as service:
        await _run(settings.authz_listen, service, servicer)


async def _run(address: str, service: Assembled, servicer: health.HealthServicer) -> None:
    log = structlog.get_logger("server")
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    server = _server(service.authorizer, servicer)
    _listen(server, address)
    await server.start()
    log.info("server.listening", address=address)

    stopping = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait((service.failed, stopping), return_when=asyncio.FIRST_COMPLETED)
        if service.failed in done:
            await service.failed
    finally:
        log.info("server.draining")
        await servicer.enter_graceful_shutdown()
        await server.stop(DRAIN_SECONDS)
        stopping.cancel()
        await asyncio.gather(stopping, return_exceptions=True)
        log.info("server.stopped")


def _server(authorizer: Authorizer, servicer: health.HealthServicer) -> grpc.aio.Server:
    server = grpc.aio.server(options=_OPTIONS)

    async def check(message: bytes, _context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return authorizer.check_now(message) or await authorizer.check(message)

    # No deserializer: a message that cannot be decoded is the authorizer's to answer, like any other.
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Check": grpc.unary_unary_rpc_method_handler(check)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    return server


def _listen(server: grpc.aio.Server, address: str) -> None:
    if not _ADDRESS.fullmatch(address):
        raise ListenError(f"authz_listen {address!r} is neither host:port nor unix:/path")
    try:
        _try_to_bind(address)
        server.add_insecure_port(address)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror or error}") from None
    except RuntimeError:
        raise ListenError(f"cannot listen on {address}") from None


def _try_to_bind(address: str) -> None:
    """Raise `OSError` when `address` cannot be had: gRPC itself tells neither why nor in one line."""
    if address.startswith("unix:"):
        folder = Path(address.removeprefix("unix:")).parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {folder}")
        return
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, int(port)), family=family).close()
    except OverflowError:
        raise OSError(errno.EINVAL, "a port is at most 65535") from None


async def _report(servicer: health.HealthServicer, *, is_serving: bool) -> None:
    status = health_pb2.HealthCheckResponse.SERVING if is_serving else health_pb2.HealthCheckResponse.NOT_SERVING
    for name in ("", SERVICE):
        await servicer.set(name, status)
