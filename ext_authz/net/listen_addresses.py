"""The listen address of each worker: the addresses in the settings, distributed over the workers.

Worker `n` listens on the address of its number, starting again when there are more workers than addresses. A TCP
port can then be shared. A Unix socket cannot, so later workers get their own paths beside it: the first keeps the
path itself, which therefore always leads to a check service.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from oauth_core.net import listen_addresses
from oauth_core.net.listen_addresses import ListenAddress, TcpAddress, UnixAddress
from oauth_core.process import ports

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNIX = "unix:"
_PROBE_SECONDS = 1.0


class ListenError(Exception):
    """The address cannot be listened on. The message is one readable line."""


def distinct(addresses: Sequence[str], workers: int) -> tuple[str, ...]:
    """Return the distinct addresses of this number of workers, in order, for Envoy to balance over."""
    return tuple(dict.fromkeys(_of_worker(addresses, number) for number in range(workers)))


def of_worker(addresses: Sequence[str], number: int) -> ListenAddress:
    """Return the address of the worker with this number, counted from 0. Raises `ListenError`."""
    return parse(_of_worker(addresses, number))


def parse(text: str) -> ListenAddress:
    """Parse `unix:/path` or `host:port`; a name is resolved. Raises `ListenError`."""
    try:
        address = listen_addresses.parse(text)
    except ValueError as error:
        raise ListenError(f"check.listen {error}") from None
    if isinstance(address, UnixAddress):
        return address
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise cannot_listen(text) from None
    return TcpAddress(str(found[0][4][0]), address.port)


def check_free(address: ListenAddress) -> None:
    """Raise `ListenError` unless a server could listen here now.

    Workers share ports, so the kernel would let a second check service share them too. This must be an error.
    """
    if isinstance(address, UnixAddress):
        _check_socket_free(address)
        return
    try:
        ports.check_free(address.host, address.port)
    except OSError:
        raise cannot_listen(str(address)) from None


def cannot_listen(address: str) -> ListenError:
    """Return the error for an address that is in use or not of this machine."""
    return ListenError(f"cannot listen on {address}: it is in use, or not an address of this machine")


def _check_socket_free(address: UnixAddress) -> None:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_PROBE_SECONDS)
        with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
            try:
                probe.connect(str(address.path))
            except TimeoutError:
                pass  # a slow server listens there
            except OSError as error:
                if not isinstance(error, FileNotFoundError | ConnectionRefusedError):
                    raise cannot_listen(str(address)) from None
                raise
            raise cannot_listen(str(address))
    # No server answers there. It remains to check that a socket can be created.
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
