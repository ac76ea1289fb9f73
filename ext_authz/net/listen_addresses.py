"""Where each worker listens: the addresses in the settings, read once and dealt out.

Worker `n` listens on the address of its number, beginning again when there are more workers than addresses. A TCP
port can then be shared. A Unix socket cannot, so the workers after the first get paths of their own beside it: the
first keeps the path itself, which therefore always leads to a check service.
"""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.net.quoted_addresses import quoted
from oauth_core.process import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNIX = "unix:"
_TCP = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:\[\]/*]+):(?P<port>\d{1,5})")
_HIGHEST_PORT = 65535
_PROBE_SECONDS = 1.0


class ListenError(Exception):
    """The address cannot be listened on. The message is one readable line."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A port of an IP address of this machine."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket, by its absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


Address = TcpAddress | UnixAddress


def distinct(addresses: Sequence[str], workers: int) -> tuple[str, ...]:
    """The distinct addresses on which so many workers listen, in order: what Envoy should balance over."""
    return tuple(dict.fromkeys(_of_worker(addresses, number) for number in range(workers)))


def of_worker(addresses: Sequence[str], number: int) -> Address:
    """Where the worker with this number, counted from 0, listens. Raises `ListenError`."""
    return parse(_of_worker(addresses, number))


def parse(text: str) -> Address:
    """Read `unix:/path` or `host:port`; a name is looked up. Raises `ListenError`."""
    if text.startswith(f"{_UNIX}/") and len(text) > len(_UNIX) + 1:
        return UnixAddress(Path(text.removeprefix(_UNIX)))
    match = _TCP.fullmatch(text)
    if match is None:
        raise ListenError(f"authz_listen{quoted(text)} is neither host:port nor unix:/path")
    port = int(match["port"])
    try:
        if not 0 < port <= _HIGHEST_PORT:
            raise OSError
        found = socket.getaddrinfo(
            match["host"].strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError:
        raise cannot_listen(text) from None
    return TcpAddress(str(found[0][4][0]), port)


def check_free(address: Address) -> None:
    """Raise `ListenError` unless a server could listen here now.

    Workers share ports, so the kernel would let a second check service share them too. That must show.
    """
    if isinstance(address, UnixAddress):
        _check_socket_free(address)
        return
    try:
        ports.check_free(address.host, address.port)
    except OSError:
        raise cannot_listen(str(address)) from None


def cannot_listen(address: str) -> ListenError:
    """The error for an address that is taken or not ours."""
    return ListenError(f"cannot listen on {address}: it is in use, or not an address of this machine")


def _check_socket_free(address: UnixAddress) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            try:
                probe.connect(str(address.path))
            except TimeoutError:
                pass  # somebody is there, and slow
            except OSError as error:
                if not isinstance(error, FileNotFoundError | ConnectionRefusedError):
                    raise cannot_listen(str(address)) from None
                raise
            raise cannot_listen(str(address))
    # Nobody answers there. What remains is whether there is a place for a socket.
    trial = address.path.with_name(f"{address.path.name}~")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            trial.unlink(missing_ok=True)
            probe.bind(str(trial))
            trial.unlink()
        except OSError:
            raise cannot_listen(str(address)) from None


def _of_worker(addresses: Sequence[str], number: int) -> str:
    text = addresses[number % len(addresses)]
    turn = number // len(addresses)
    return f"{text}.{turn}" if turn and text.startswith(_UNIX) else text
