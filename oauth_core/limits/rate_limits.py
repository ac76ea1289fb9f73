"""The rate limits that all replicas of the authorization server share, and the subjects they apply to.

An address may belong to a whole company, or to a hosted client that acts for all its users. So the limits of an
address are generous, with a separate one for failures. Only the subject of a request, a client, a person or a
grant, has a closer limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.errors import DisplayedError

_NETWORK_BITS = 64
NO_ADDRESS = "none"
_WITH_PORT = re.compile(r"(?:\[(?P<bracketed>[^\[\]]+)\]|(?P<plain>[0-9.]+))(?::[0-9]{1,5})?", re.ASCII)
"""`[IPv6]` or IPv4, with a port or without. An IPv6 address without brackets has no port."""


class Limit(StrEnum):
    """The rate limits. The value of each member is the name of its setting in the table `rates`."""

    REGISTRATIONS_PER_ADDRESS = "registrations_per_address"
    REGISTRATIONS_PER_ADDRESS_A_DAY = "registrations_per_address_a_day"
    REGISTRATION_KILOBYTES_PER_ADDRESS_A_DAY = "registration_kilobytes_per_address_a_day"
    AUTHORIZATIONS_PER_ADDRESS = "authorizations_per_address"
    FAILURES_PER_ADDRESS = "failures_per_address"
    """Failed client authentications, of one client from one address: a caller cannot lock a client out elsewhere.
    """
    REQUESTS_PER_CLIENT = "requests_per_client"
    SIGN_INS_PER_USER = "sign_ins_per_user"
    TOKENS_PER_GRANT = "tokens_per_grant"
    DOCUMENT_FETCHES_PER_ADDRESS = "document_fetches_per_address"
    """Fetches of clients' documents and key sets that requests from one address cause."""
    MAILS_PER_USER_A_DAY = "mails_per_user_a_day"
    MAIL_CONFIRMATIONS_PER_USER_A_DAY = "mail_confirmations_per_user_a_day"
    """Apart from notices: a thief of a session must not be able to use up the mails that report the theft."""
    MAIL_CONFIRMATIONS_PER_ADDRESS_A_DAY = "mail_confirmations_per_address_a_day"
    """Mails with a link to one mail address. A person must not be able to flood the mailbox of another one."""
    USER_CODES_PER_ADDRESS = "user_codes_per_address"
    """User codes are short. A single address must not be able to use up the limit that all addresses share."""


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` in `seconds`, at any speed; then one whenever one becomes free."""

    count: int
    seconds: int


def too_many_requests(wait: int) -> DisplayedError:
    """Return the answer to a caller that may try again in `wait` seconds (RFC 6585 section 4)."""
    return refused(OAuthReason.TOO_MANY_REQUESTS, wait=wait, retry_after=wait)


def read_address(text: str | None) -> IPv4Address | IPv6Address | None:
    """Return the IP address in `text`, as proxies write it: alone, in brackets, with a port or with a zone.

    An IPv4 address that is mapped into IPv6 (RFC 4291 section 2.5.5.2) is returned as IPv4; `None` for other text.
    """
    text = (text or "").strip()
    if match := _WITH_PORT.fullmatch(text):
        text = match["bracketed"] or match["plain"]
    try:
        parsed = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return parsed if isinstance(parsed, IPv4Address) else parsed.ipv4_mapped or parsed


def subject_of_address(address: str | None) -> str:
    """Return the subject for a caller at `address`: its IPv4 address, or its /64 network of IPv6.

    A single host usually has a whole /64, so addresses inside it cannot be distinguished. Callers without a
    readable address, on a Unix socket for example, share one subject.
    """
    match read_address(address):
        case IPv4Address() as known:
            return str(known)
        case IPv6Address() as known:
            bits = int(known) >> (128 - _NETWORK_BITS)
            return f"{IPv6Address(bits << (128 - _NETWORK_BITS))}/{_NETWORK_BITS}"
        case None:
            return NO_ADDRESS
