"""Ranges of IP addresses, as people write them: one address or one network, such as 10.0.0.0/8."""

from __future__ import annotations

from functools import cached_property
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network


class AddressRange:
    """One address, or the addresses of one network. Bits after the length of the network do not matter."""

    def __init__(self, text: str) -> None:
        """Raises `ValueError` when `text` is no address and no network."""
        try:
            self._network: IPv4Network | IPv6Network = ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text} is no address and no network such as 10.0.0.0/8") from None

    def contains(self, text: str) -> bool:
        """Return whether `text` is an address in this range. An IPv4 address mapped into IPv6 counts as IPv4."""
        address = _read(text)
        return address is not None and address.version == self._network.version and address in self._network

    @cached_property
    def only_ipv4(self) -> str | None:
        """The one IPv4 address of the range, which all programs write in the same way; or `None`."""
        is_one = isinstance(self._network, IPv4Network) and self._network.num_addresses == 1
        return str(self._network.network_address) if is_one else None


def network_of(text: str, *, ipv4_bits: int, ipv6_bits: int) -> str | None:
    """Return the network of a source of an event, with this number of bits; `None` if `text` is no source.

    A source is an address, or the network of 64 bits that `oauth_web` records for a caller with IPv6.
    """
    address = _read_source(text)
    if address is None:
        return None
    if isinstance(address, IPv4Address):
        return str(IPv4Network((int(address), ipv4_bits), strict=False))
    return str(IPv6Network((int(address), ipv6_bits), strict=False))


def public_address(text: str) -> str | None:
    """Return an address of the internet in its usual form, or `None` for a private one or another text.

    An IPv4 address mapped into IPv6 is returned as IPv4. Of the network of 64 bits that `oauth_web` records for a
    caller with IPv6, the first address is returned.
    """
    address = _read_source(text)
    return str(address) if address is not None and address.is_global else None


def _read_source(text: str) -> IPv4Address | IPv6Address | None:
    """The address, or the first one of a /64 network of IPv6; `None` for another text."""
    beginning = text.removesuffix("/64")
    address = _read(beginning)
    return address if beginning == text or isinstance(address, IPv6Address) else None


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """The address, where an IPv4 address mapped into IPv6 is IPv4; `None` for another text."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
