"""TCP ports of this machine: which are free, and whether a server could listen on an address."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Return a port of 127.0.0.1 without a listener. Another program may take it before the caller does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def check_free(host: str, port: int) -> None:
    """Raise `OSError` unless a server could listen on this IP address and port now.

    `SO_REUSEPORT` is not set on purpose. With it two servers of one user share a port, and each gets half of the
    requests without an error.
    """
    with socket.socket(family_of(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        probe.listen(1)


def family_of(host: str) -> socket.AddressFamily:
    """Return the family of a socket for the IP address or name `host`."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def has_ipv6() -> bool:
    """Return whether this machine has the loopback address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True
