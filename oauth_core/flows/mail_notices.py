"""Mails to people about what happened: which notices are mailed, the address of a person, and mails that wait.

A mail never has a text that a caller or a client chose, because mail programs make links of any text that looks
like an address. It says what happened and when, and the account page has the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from oauth_core.flows.notices import Notice, NoticeKind

LONGEST_ADDRESS = 254
"""Characters of an address (RFC 5321 section 4.5.3.1.3)."""
_LONGEST_LOCAL_PART = 64

PENDING_LIFETIME = 3600
"""Seconds in which a person can confirm an address."""
MAIL_LIFETIME = 86_400
"""Seconds after which a mail that no server took is given up."""

# An address as people have it: dot-atoms in ASCII (RFC 5322 section 3.2.3) at a domain, without quotes. `%` and
# `!` are left out, because old mail servers pass such mails on to another domain. `=?` begins a text that programs
# decode (RFC 2047), to a line break for example; a hyphen at the beginning looks like an option of a program.
_LOCAL_PART = re.compile(r"(?!-)(?!.*=\?)[A-Za-z0-9#$&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9#$&'*+/=?^_`{|}~-]+)*\Z")
_DOMAIN = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]\Z"
)


class MailKind(StrEnum):
    """The kinds of mails that a person can choose. The names are stored, and are those of the form's fields."""

    NEW_APP = "new_app"
    NEW_COUNTRY = "new_country"
    KEY_REUSED = "key_reused"
    BLOCKED = "blocked"


_KINDS = {
    NoticeKind.APP_ALLOWED: MailKind.NEW_APP,
    NoticeKind.APP_VOUCHED_FOR: MailKind.NEW_APP,
    NoticeKind.NEW_COUNTRY: MailKind.NEW_COUNTRY,
    NoticeKind.REFRESH_TOKEN_REUSED: MailKind.KEY_REUSED,
    NoticeKind.OLD_REFRESH_TOKEN_REFUSED: MailKind.KEY_REUSED,
    NoticeKind.CODE_REPLAYED: MailKind.KEY_REUSED,
    NoticeKind.REVOKED: MailKind.BLOCKED,
    NoticeKind.BLOCKED: MailKind.BLOCKED,
    NoticeKind.UNBLOCKED: MailKind.BLOCKED,
}


@dataclass(frozen=True, slots=True)
class Contact:
    """The confirmed address of a person, and the kinds of mails that they want."""

    address: str
    kinds: tuple[MailKind, ...]
    confirmed_at: int


@dataclass(frozen=True, slots=True)
class PendingContact:
    """An address that waits for its confirmation in the session in which it was entered."""

    github_id: int
    session_hash: str
    address: str
    kinds: tuple[MailKind, ...]


@dataclass(frozen=True, slots=True)
class QueuedMail:
    """A mail that waits: a `notice` for the person's confirmed address, or a mail to `address`.

    With a `token`, the secret of its link, this is a confirmation of `address`. Without one it says that `address`
    gets no mails any more, or fewer. `attempts` is the number of failed attempts.
    """

    github_id: int
    queued_at: int
    notice: Notice | None = None
    address: str | None = None
    token: str | None = None
    attempts: int = 0


def mail_kind_of(kind: NoticeKind) -> MailKind | None:
    """Return the kind of mail about such a notice; `None` for notices that are on the account page only."""
    return _KINDS.get(kind)


def is_mailed(notice: Notice, count: int) -> bool:
    """Return whether a notice, the `count`-th of its entry, is worth a mail: an app is new only once."""
    kind = mail_kind_of(notice.kind)
    return kind is not None and (count == 1 or kind is not MailKind.NEW_APP)


def checked_address(text: str) -> str:
    """Return the mail address in `text`, the domain in lower case. Raises `ValueError`.

    Only ASCII: no address can begin another header or another command of SMTP, also after it is decoded.
    """
    address = text.strip()
    local, mark, domain = address.rpartition("@")
    if (
        not mark
        or len(address) > LONGEST_ADDRESS
        or len(local) > _LONGEST_LOCAL_PART
        or not _LOCAL_PART.match(local)
        or not _DOMAIN.match(domain)
    ):
        raise ValueError("is no mail address")
    return f"{local}@{domain.lower()}"


def checked_kinds(names: tuple[str, ...]) -> tuple[MailKind, ...]:
    """Return the kinds of these names, in their order here. Unknown names are left out."""
    return tuple(kind for kind in MailKind if kind.value in names)


def gets_less(old: Contact, new: Contact | None) -> bool:
    """Return whether the old address gets no mails any more, or none of some kind, when `new` replaces `old`."""
    return new is None or new.address != old.address or not set(old.kinds) <= set(new.kinds)


def limited_as(address: str) -> str:
    """Return the subject of an address for limits: spellings that large providers deliver to one mailbox are one.

    That is lower case, without a tag (`+`) and without dots.
    """
    local, _, domain = address.lower().rpartition("@")
    return f"{local.partition('+')[0].replace('.', '')}@{domain}"
