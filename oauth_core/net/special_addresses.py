"""Which network addresses are of the public internet, and which lead to this machine, this network or nowhere.

A server that fetches what strangers name must not be made to knock on its neighbours' doors.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Only this part of IPv6 is given out (RFC 4291 section 2.4): IPv4-mapped addresses, the NAT64 prefixes, unique
# local and link-local ones all lie outside it. Inside it, 6to4 and Teredo still carry an IPv4 address that a relay
# would act on, and so would reach what the outer address hides.
_GIVEN_OUT = IPv6Network("2000::/3")
_CARRYING_IPV4 = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))
# So does ISATAP, below any prefix: `0000:5efe` or `0200:5efe` and then the IPv4 address (RFC 5214 section 6.1).
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})

# What the standard library takes for global, or takes so in some versions only.
_NEVERTHELESS_SPECIAL = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments, some of which any router may answer (RFC 6890)
    IPv4Network("192.88.99.0/24"),  # relays of 6to4 (RFC 7526)
    IPv4Network("168.63.129.16/32"),  # Azure's own services for the machine that asks, at a public address
    IPv6Network("2001::/23"),  # protocol assignments (RFC 2928)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)


def is_public(address: str) -> bool:
    """Whether `address`, in its numeric spelling, is of the public internet. What is not an address is not."""
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
    """Whether it was given out, and means no network interface of ours and no IPv4 address."""
    if address.scope_id is not None or (int(address) >> 32) & 0xFFFF_FFFF in _ISATAP:
        return False
    return address in _GIVEN_OUT and not any(address in network for network in _CARRYING_IPV4)


def is_ip(text: str) -> bool:
    """Whether `text` is an IP address in its numeric spelling, rather than a name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def is_loopback(address: str) -> bool:
    """Whether `address` is of this machine itself, and says so plainly: not as IPv4 wrapped in IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None
