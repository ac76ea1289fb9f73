"""Notices: what a person reads on the account page about their own sign-ins, apps and blocks.

A notice has no secret and no text about another person. Notices of one kind about one subject (an app, or the
address of a sign-in) are one entry with a count, so that an app that repeats itself cannot displace others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from oauth_core.clients.client_id_documents import host_of
from oauth_core.crypto.credentials import hash_secret

MOST_NOTICES = 50
"""Entries of one person. Beyond that, the oldest of the most frequent kind goes."""

NOTICE_LIFETIME = 90 * 86_400
"""Seconds that a notice is kept."""

_LONGEST_TEXT = 200
"""Characters of an app's name, and of an operator's reason."""

_LONGEST_CLIENT_ID = 512
_FIELD_HASH = 22
"""Characters of a hash (132 bits)."""


class NoticeKind(StrEnum):
    """The kinds of notices. The names are stored."""

    SIGNED_IN = "signed_in"
    APP_ALLOWED = "app_allowed"
    APP_VOUCHED_FOR = "app_vouched_for"
    """The client got access with an assertion of a trusted issuer, without the person."""
    APP_DISCONNECTED = "app_disconnected"
    """By the person, on the account page."""
    APP_ENDED_BY_ITSELF = "app_ended_by_itself"
    """The client revoked its token, or deleted its registration."""
    APP_ENDED_BY_OPERATOR = "app_ended_by_operator"
    APP_DISABLED = "app_disabled"
    """An operator disabled the client, and all of its grants ended."""
    REFRESH_TOKEN_REUSED = "refresh_token_reused"
    """A refresh token was used twice, and the grant ended."""
    OLD_REFRESH_TOKEN_REFUSED = "old_refresh_token_refused"
    """The same where `tokens.refresh_reuse = "refuse"`: the grant did not end."""
    CODE_REPLAYED = "code_replayed"
    APP_ENDED_BY_RESTORE = "app_ended_by_restore"
    """The client refreshed after the backup that was restored."""
    TOO_MANY_APPS = "too_many_apps"
    """The grant exceeded `grants_per_user`."""
    NOT_ELIGIBLE = "not_eligible"
    """The person may no longer sign in: all grants and sessions ended."""
    REVOKED = "revoked"
    """An operator ended all grants and sessions of the person."""
    NEW_COUNTRY = "new_country"
    """A sign-in from a country that is new for the person."""
    BLOCKED = "blocked"
    UNBLOCKED = "unblocked"


@dataclass(frozen=True, slots=True)
class Notice:
    """One entry. `source` is the address of the request, and `reason` an operator's text.

    `until` is the second at which an allowed access ends at the latest.
    """

    kind: NoticeKind
    at: int
    client_id: str | None = None
    client_name: str | None = None
    grant_id: str | None = None
    until: int | None = None
    source: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class RepeatedNotice:
    """The latest notice of a subject, and how often it happened since second `first_at`."""

    latest: Notice
    count: int
    first_at: int


def field_of(notice: Notice) -> str:
    """Return the name of the entry of `notice`, before it is `bounded`: its kind, and the hash of its subject."""
    subject = notice.client_id or notice.source or ""
    return f"{notice.kind}:{hash_secret(subject)[:_FIELD_HASH]}"


def bounded(notice: Notice) -> Notice:
    """Return `notice` in a bounded size: an app's name, an operator's reason and a client's URL may be long."""
    client_id, name = notice.client_id, notice.client_name
    if client_id is not None and len(client_id) > _LONGEST_CLIENT_ID:
        name, client_id = host_of(client_id) or name, None
    return replace(notice, client_id=client_id, client_name=_cut(name), reason=_cut(notice.reason))


def _cut(text: str | None) -> str | None:
    if text is None or len(text) <= _LONGEST_TEXT:
        return text
    return f"{text[: _LONGEST_TEXT - 1]}…"
