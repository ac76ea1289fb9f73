"""What strangers can make grow in Redis, kind by kind, and the share of each kind that one caller may have."""

from __future__ import annotations

from enum import StrEnum

from oauth_core.errors import DisplayedError
from oauth_core.refusals import OAuthReason, refused

FOR_A_NEWCOMER = 8192
"""Bytes of a kind that any caller may hold, as long as the kind is not full."""
SHARE = 8
"""Beyond that, a caller may hold one part in so many of what is still free of the first half of a kind.

So one caller alone gets an eighteenth of a kind, and ten or a hundred callers no more than the first half. The
second half is for callers that hold little: of 16 MB it is enough for a thousand of them.
"""


class Stored(StrEnum):
    """Kinds of records that a caller nobody knows can have written. `<kind>_megabytes` is the setting of each."""

    REGISTRATIONS = "registrations"
    """Registered clients, for as long as no person has consented to them."""
    CLIENT_DOCUMENTS = "client_documents"
    SIGN_INS = "sign_ins"
    """Authorizations that wait for consent, and those that are on their way through GitHub."""
    DEVICE_CODES = "device_codes"
    ASSERTIONS = "assertions"
    """Which client assertions and DPoP proofs were used. Anybody can sign with a key of their own."""


class NoRoomError(DisplayedError):
    """A record is not written, because its kind or the share of its caller is used up. Nothing was decided."""


def own_share_used(wait: int) -> NoRoomError:
    """429: the caller's own share of a kind is used up."""
    return _no_room(refused(OAuthReason.TOO_MANY_REQUESTS, wait=wait, retry_after=wait))


def all_used(wait: int) -> NoRoomError:
    """503: all callers together have used a kind up, or Redis is nearly full."""
    return _no_room(refused(OAuthReason.NO_ROOM, wait=wait, retry_after=wait))


def _no_room(error: DisplayedError) -> NoRoomError:
    return NoRoomError(
        error.code, error.description, error.status, retry_after=error.retry_after, reason=error.reason
    )
