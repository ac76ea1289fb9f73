"""Listening of the small programs of the command line: their addresses, and serving an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from typing import TYPE_CHECKING, Any, cast

from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import ListenAddress, TcpAddress, UnixAddress, parse
from oauth_core.process import ports

if TYPE_CHECKING:
    from pathlib import Path

    from hypercorn.typing import Framework

LOCAL_HOSTS = tuple(f"{name}{port}" for name in ("localhost", "127.0.0.1", "[::1]") for port in ("", ":*"))
"""The `Host` values of legitimate callers on this machine."""


def parse_address(text: str) -> ListenAddress:
    """Read `host:port`, `[ipv6]:port` or `unix:/path`. Raises `SettingsError` for anything else."""
    try:
        return parse(text)
    except ValueError as error:
        raise SettingsError([f"address {error}"]) from None


def check_free(address: TcpAddress) -> None:
    """Raise `SettingsError` unless a server could listen on this TCP address now."""
    try:
        ports.check_free(address.host, address.port)
    except OSError as error:
        raise SettingsError([f"cannot listen on {address}: {error.strerror or error}"]) from None


async def serve(app: object, address: ListenAddress, stop: asyncio.Event | None = None) -> None:
    """Serve an ASGI application under Hypercorn until SIGTERM, SIGINT or `stop`.

    A Unix socket that a dead process left behind is removed first. The socket is for its owner only.
    """
    # Imported here: `up` and others use this module for addresses only, and Hypercorn is slow to load.
    from hypercorn.asyncio import serve as hypercorn_serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    if isinstance(address, UnixAddress):
        _remove_stale_socket(address.path)
    else:
        check_free(address)
    stopping = stop or asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    config = Config()
    config.bind = [str(address)]
    config.umask = 0o177
    config.graceful_timeout = 2.0
    config.loglevel = "WARNING"
    try:
        await hypercorn_serve(cast("Framework", app), config, shutdown_trigger=cast("Any", stopping.wait))
    finally:
        if isinstance(address, UnixAddress):
            with contextlib.suppress(FileNotFoundError):
                address.path.unlink()


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket at `path` if no program answers there. Raises `SettingsError` if one does."""
    if not path.is_socket():
        if path.exists():
            raise SettingsError([f"{path} exists and is not a socket"])
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise SettingsError([f"another program listens on {path}"])
