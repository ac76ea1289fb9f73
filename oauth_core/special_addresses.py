"""Which network addresses are of the public internet, and which lead to this machine, this network or nowhere.

A server that fetches what strangers name must not be made to knock on its neighbours' doors.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address

# Only this part of IPv6 is given out (RFC 4291 section 2.4): IPv4-mapped addresses, the NAT64 prefixes, unique
# local and link-local ones all lie outside it. Inside it, 6to4 and Teredo still carry an IPv4 address that a relay
# would act on, and so would reach what the outer address hides.
_GIVEN_OUT = IPv6Network("2000::/3")
_CARRYING_IPV4 = (IPv6Network("2002::/16"), IPv6Network("2001::/32"))


def is_public(address: str) -> bool:
    """Whether `address`, in its numeric spelling, is of the public internet. What is not an address is not."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if not parsed.is_global or parsed.is_multicast or parsed.is_reserved:
        return False
    if isinstance(parsed, IPv4Address):
        return True
    return parsed in _GIVEN_OUT and not any(parsed in network for network in _CARRYING_IPV4)


def is_loopback(address: str) -> bool:
    """Whether `address` is of this machine itself, and says so plainly: not as IPv4 wrapped in IPv6."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return parsed.is_loopback and getattr(parsed, "ipv4_mapped", None) is None
