"""Resolves the addresses of a host without a thread, so that a look-up ends as soon as its caller gives up.

`getaddrinfo` cannot be cancelled: it blocks a thread until the name servers answer or the C library gives up. That
may take more than ten seconds. An attacker with silent name servers would block one thread for each made-up name.
"""

from __future__ import annotations

import asyncio
import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import dns.asyncresolver
import dns.exception
import dns.resolver

from oauth_core.net.special_addresses import is_ip

if TYPE_CHECKING:
    from collections.abc import Sequence

_HOSTS_FILE = Path("/etc/hosts")
_LONGEST_SECONDS = 2.0
"""For one record type. The fetch as a whole has one second more."""
_LOOPBACK = ("127.0.0.1", "::1")
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z", re.IGNORECASE)
"""A last label that some programs read as part of an IPv4 address and others as a name. It is refused."""


async def resolve(host: str) -> Sequence[str]:
    """The addresses of `host`: those of the hosts file, or else those of its A and AAAA records.

    Search domains are not used: a name from outside must not become a name of this network. Raises `OSError` when
    there is no address. Ends at once when it is cancelled.
    """
    if is_ip(host):
        return [host]
    name = host.lower().rstrip(".")
    if _NUMBER.match(name.rpartition(".")[2]):
        raise OSError(f"{host} is neither an address nor a name")
    if found := _in_hosts_file(name):
        return found
    if name == "localhost" or name.endswith(".localhost"):  # RFC 6761 section 6.3
        return _LOOPBACK
    try:
        resolver = dns.asyncresolver.Resolver()  # reads resolv.conf, which changes with the network
    except dns.exception.DNSException as error:
        raise OSError(f"{host}: {type(error).__name__}") from None
    resolver.lifetime = _LONGEST_SECONDS
    v4, v6 = await asyncio.gather(
        _records(resolver, name, "A"), _records(resolver, name, "AAAA"), return_exceptions=True
    )
    if isinstance(v4, BaseException) and isinstance(v6, BaseException):
        raise OSError(f"{host}: {type(v4).__name__}")
    # Some name servers fail for a record type that they do not have. The other type is enough.
    first, second = ([] if isinstance(found, BaseException) else found for found in (v4, v6))
    return [*first, *second] if first and _leads_out(first[0]) else [*second, *first]


async def _records(resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> list[str]:
    answer = await resolver.resolve(f"{name}.", kind, search=False, raise_on_no_answer=False)
    return [str(record) for record in answer.rrset or ()]


def _in_hosts_file(name: str) -> list[str]:
    try:
        lines = _HOSTS_FILE.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    entries = (line.partition("#")[0].lower().split() for line in lines)
    return [entry[0] for entry in entries if name in entry[1:] and is_ip(entry[0])]


def _leads_out(address: str) -> bool:
    """Whether this machine has a route to an IPv4 address. Sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        return probe.connect_ex((address, 443)) == 0
