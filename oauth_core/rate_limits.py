"""What is counted, and against whom: the limits that all replicas of the authorization server share.

An address may be a whole company's, or that of a hosted client which acts for everybody who uses it. So what one
address may do is bounded generously, failures apart, and only who a request speaks for, a client, a person or a
grant, is bounded more closely.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address

_NETWORK_BITS = 64
_NO_ADDRESS = "none"


class Limit(StrEnum):
    """Each is the name of its setting."""

    REGISTRATIONS_PER_ADDRESS = "registrations_per_address"
    AUTHORIZATIONS_PER_ADDRESS = "authorizations_per_address"
    FAILURES_PER_ADDRESS = "failures_per_address"
    """Failed client authentications, of one client from one address: nobody can lock a client out elsewhere."""
    REQUESTS_PER_CLIENT = "requests_per_client"
    SIGN_INS_PER_USER = "sign_ins_per_user"
    TOKENS_PER_GRANT = "tokens_per_grant"
    USER_CODES_PER_ADDRESS = "user_codes_per_address"
    """User codes are short. The limit that everybody shares must not be one that a single address can use up."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` in `seconds`, at any speed; then as one becomes free."""

    count: int
    seconds: int


def subject_of_address(address: str | None) -> str:
    """Whom to count for a caller at `address`: itself, or its IPv6 network, of which one caller has all.

    Callers without an address, on a Unix socket say, are counted together.
    """
    try:
        parsed = ip_address((address or "").strip("[]").partition("%")[0])
    except ValueError:
        return _NO_ADDRESS
    match parsed:
        case IPv6Address() if parsed.ipv4_mapped is None:
            bits = int(parsed) >> (128 - _NETWORK_BITS)
            return f"{IPv6Address(bits << (128 - _NETWORK_BITS))}/{_NETWORK_BITS}"
        case IPv6Address():
            return str(parsed.ipv4_mapped)
        case IPv4Address():
            return str(parsed)
