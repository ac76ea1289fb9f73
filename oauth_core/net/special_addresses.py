"""Classifies network addresses: of the public internet, or of this machine, this network or no destination.

A server that fetches URLs of unknown callers must not be made to send requests to its own network.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Only this part of IPv6 is allocated (RFC 4291 section 2.4): IPv4-mapped addresses, the NAT64 prefixes, unique
# local and link-local ones are outside it. Inside it, 6to4 and Teredo contain an IPv4 address that a relay would
# use, and so would reach an address that the outer one hides.
_GIVEN_OUT = IPv6Network("2000::/3")
_CARRYING_IPV4 = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
# ISATAP contains one too, below any prefix: `0000:5efe` or `0200:5efe` and the IPv4 address (RFC 5214 section
# 6.1).
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})

# Addresses that the standard library treats as global, in some versions or in all.
_NEVERTHELESS_SPECIAL = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments, some of which any router may answer (RFC 6890)
    IPv4Network("192.88.99.0/24"),  # relays of 6to4 (RFC 7526)
    IPv4Network("168.63.129.16/32"),  # Azure's own services for the machine that asks, at a public address
    IPv6Network("2001::/23"),  # protocol assignments (RFC 2928)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


def is_public(address: str) -> bool:
    """Return whether `address`, in numeric form, is of the public internet; False for other text."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if any(parsed in network for network in _NEVERTHELESS_SPECIAL if network.version == parsed.version):
        return False
    return isinstance(parsed, IPv4Address) or _is_plain(parsed)


def _is_plain(address: IPv6Address) -> bool:
    """Return whether it is allocated, and contains no network interface of this machine and no IPv4 address."""
    if address.scope_id is not None or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return address in _GIVEN_OUT and not any(address in network for network in _CARRYING_IPV4)


def is_ip(text: str) -> bool:
    """Return whether `text` is an IP address in numeric form, rather than a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Return whether `address` is a plain loopback address: not as IPv4 wrapped in IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None
