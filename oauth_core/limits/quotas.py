"""The kinds of records that unknown callers can cause in Redis, and each caller's share of a kind."""

from __future__ import annotations

from enum import StrEnum

from oauth_core.errors import DisplayedError
from oauth_core.refusals import OAuthReason, refused

FOR_A_NEWCOMER = 8192
"""Bytes of a kind that any caller may hold, as long as the kind is not full."""
SHARE = 8
"""Above that, a caller may hold one part in this many of the free space of the first half of a kind.

So one caller alone gets an eighteenth of a kind, and ten or a hundred callers no more than the first half. The
second half is for callers that hold little: of 16 MB it is enough for a thousand of them.
"""


class Stored(StrEnum):
    """Kinds of records that an unknown caller can cause. `<kind>_megabytes` is the setting of each."""

    REGISTRATIONS = "registrations"
    """Registered clients, for as long as no person has consented to them."""
    CLIENT_DOCUMENTS = "client_documents"
    SIGN_INS = "sign_ins"
    """Authorizations that wait for consent, and those that wait for GitHub."""
    DEVICE_CODES = "device_codes"
    ASSERTIONS = "assertions"
    """Used client assertions and DPoP proofs. Any caller can sign with its own key."""


class NoRoomError(DisplayedError):
    """A record is not written, because its kind or its caller's share is used up. No decision was made."""


def own_share_used(wait: int) -> NoRoomError:
    """Return 429: the caller's own share of a kind is used up."""
    return _no_room(refused(OAuthReason.TOO_MANY_REQUESTS, wait=wait, retry_after=wait))


def all_used(wait: int) -> NoRoomError:
    """Return 503: all callers together have used a kind up, or Redis is nearly full."""
    return _no_room(refused(OAuthReason.NO_ROOM, wait=wait, retry_after=wait))


def _no_room(error: DisplayedError) -> NoRoomError:
    return NoRoomError(
        error.code, error.description, error.status, retry_after=error.retry_after, reason=error.reason
    )
