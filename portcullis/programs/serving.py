"""How the small programs of the command line listen: one spelling of an address, one way to serve an ASGI app."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from oauth_core.errors import SettingsError
from oauth_core.net.public_urls import is_loopback
from oauth_core.net.quoted_addresses import quoted
from oauth_core.process import ports

if TYPE_CHECKING:
    from hypercorn.typing import Framework

_HOST_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^\[\]:/@\s]+):(?P<port>\d{1,5})")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens: a Unix socket (`path`), or a TCP `host` (IPv6 without brackets) and `port`."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_private(self) -> bool:
        """Whether only this machine can reach it."""
        return self.path is not None or is_loopback(f"http://{self}")

    @property
    def local_hosts(self) -> list[str]:
        """The `Host` values that an honest caller on this machine sends."""
        return [f"{name}{port}" for name in ("localhost", "127.0.0.1", "[::1]") for port in ("", ":*")]


def parse_address(text: str) -> Address:
    """Read `host:port`, `[ipv6]:port` or `unix:/path`. Raises `SettingsError` for anything else."""
    if text.startswith("unix:"):
        path = Path(text.removeprefix("unix:"))
        if not path.is_absolute():
            raise SettingsError(["address: the path of a Unix socket must be absolute"])
        return Address(path=path)
    match = _HOST_PORT.fullmatch(text)
    if match is None or int(match["port"]) > _HIGHEST_PORT:
        raise SettingsError([f"address{quoted(text)} is neither host:port nor unix:/path"])
    return Address(host=match["host"].strip("[]"), port=int(match["port"]))


def check_free(address: Address) -> None:
    """Raise `SettingsError` unless a server could listen on this TCP address now."""
    try:
        ports.check_free(address.host, address.port)
    except OSError as error:
        raise SettingsError([f"cannot listen on {address}: {error.strerror or error}"]) from None


async def serve(app: object, address: Address, stop: asyncio.Event | None = None) -> None:
    """Serve an ASGI application under Hypercorn until SIGTERM, SIGINT or `stop`.

    A Unix socket that a dead process left behind is removed first. The socket is for its owner only.
    """
    # Imported here: `up` and others only spell addresses with this module, and Hypercorn takes its time to load.
    from hypercorn.asyncio import serve as hypercorn_serve  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    if address.path is not None:
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
        if address.path is not None:
            with contextlib.suppress(FileNotFoundError):
                address.path.unlink()


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket at `path` if nobody answers there; raise `SettingsError` if somebody does."""
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
    raise SettingsError([f"something listens on {path} already"])
