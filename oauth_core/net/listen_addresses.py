"""Listen addresses of programs: `host:port`, `[ipv6]:port` and `unix:/path`, parsed in one way by all of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from oauth_core.net.quoted_addresses import quoted
from oauth_core.net.special_addresses import is_ip, is_loopback

_UNIX = "unix:"
_TCP = re.compile(r"(?:\[(?P<ipv6>[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9_.-]+)):(?P<port>[0-9]{1,5})")
_NAME = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?", re.IGNORECASE
)
_HIGHEST_PORT = 65_535
_LONGEST_SOCKET_PATH = 107
"""The operating system's limit, in bytes, for the path of a Unix socket."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port. `host` is a name in lower case, or an IP address without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{bracketed(self.host)}:{self.port}"

    @property
    def is_ip(self) -> bool:
        """Whether `host` is an IP address, which needs no lookup."""
        return is_ip(self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: a loopback address, or `localhost`."""
        return self.host == "localhost" or is_loopback(self.host)


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A Unix socket, by its absolute path."""

    path: Path

    def __str__(self) -> str:
        return f"{_UNIX}{self.path}"


ListenAddress = TcpAddress | UnixAddress


def bracketed(host: str) -> str:
    """A host as it is written before a port: an IPv6 address is in brackets."""
    return f"[{host}]" if ":" in host else host


def parse(text: str) -> ListenAddress:
    """Parse an address. Raises `ValueError`; its message continues the name of a setting."""
    if text.startswith(_UNIX):
        return parse_socket_path(text.removeprefix(_UNIX))
    return parse_tcp(text)


def parse_tcp(text: str) -> TcpAddress:
    """Parse `host:port` or `[ipv6]:port`. Raises `ValueError`, as `parse` does."""
    found = _TCP.fullmatch(text)
    if found is None:
        raise _no_address(text)
    host, port = (found["ipv6"] or found["host"]).lower(), int(found["port"])
    if not 0 < port <= _HIGHEST_PORT or not (is_ip(host) if found["ipv6"] else _NAME.fullmatch(host)):
        raise _no_address(text)
    return TcpAddress(host, port)


def parse_socket_path(path: str) -> UnixAddress:
    """Parse the absolute path of a Unix socket. Raises `ValueError`, as `parse` does."""
    if not path.startswith("/") or path == "/" or "\0" in path or len(path.encode()) > _LONGEST_SOCKET_PATH:
        raise ValueError(f"is not an absolute path of at most {_LONGEST_SOCKET_PATH} bytes")
    return UnixAddress(Path(path))


def check_metrics_listen(value: str | None) -> str | None:
    """Check the address of the metrics, which must be on this machine. Raises `ValueError`."""
    if not value:
        return None
    address = parse(value)
    if isinstance(address, TcpAddress) and not address.is_loopback:
        raise ValueError("must be a loopback address or unix:/path")
    return value


def _no_address(text: str) -> ValueError:
    return ValueError(f"{quoted(text)} is neither host:port nor unix:/path".lstrip())
