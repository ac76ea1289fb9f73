"""The rules of the device flow (RFC 8628), pure: the form of a user code, and the answer to a poll.

A user code is eight consonants, `BCDF-GHJK`: no vowels, so it never spells a word, and no letter that looks like a
digit (RFC 8628 section 6.1). 20^8 is 34 bits: few enough to type, and safe only because attempts are counted
(`oauth_core.store.records.devices`) and codes are short-lived.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oauth_core.model import DevicePace, Grant

if TYPE_CHECKING:
    from oauth_core.model import DeviceAuthorization, DeviceDecision, User


ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
"""The letters of a user code."""

LENGTH = 8
"""Letters in a user code."""

INTERVAL = 5
"""Seconds between polls at first (the default of RFC 8628 section 3.2)."""

_TOLERANCE = 1
"""Seconds that a poll may be early: times are whole seconds, and a timer may fire slightly early."""

SLOWER = 5
"""Seconds that a poll that is too early adds to the interval (RFC 8628 section 3.5)."""

# People type what they see: some see a dash and some a space. Only ASCII: with `\s` and letters of other scripts,
# different codes could look the same.
_PUNCTUATION = re.compile(r"[ \t._-]")
_USER_CODE = re.compile(rf"[{ALPHABET}]{{{LENGTH}}}\Z")
_LONGEST_TYPED = 32


def parse_user_code(typed: str) -> str | None:
    """The code that a person typed; `None` when it is not well-formed. Case, dashes and spaces do not matter."""
    if len(typed) > _LONGEST_TYPED or not typed.isascii():
        return None
    code = _PUNCTUATION.sub("", typed).upper()
    return code if _USER_CODE.match(code) else None


def format_user_code(code: str) -> str:
    """`code` in two halves, which people read best."""
    return f"{code[: LENGTH // 2]}-{code[LENGTH // 2 :]}"


@dataclass(frozen=True, slots=True)
class Pending:
    """The person has not decided yet. Keep `pace` for the next poll."""

    pace: DevicePace


@dataclass(frozen=True, slots=True)
class TooFast:
    """The person has not decided yet, and the device polled before the interval ended. Keep `pace`."""

    pace: DevicePace


@dataclass(frozen=True, slots=True)
class Denied:
    """The person declined, or is not eligible."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The person did not decide in time."""


@dataclass(frozen=True, slots=True)
class Approved:
    """The person, `user`, allowed it. The caller that uses the device code up may have tokens."""

    user: User
    sealed_github_token: str | None = None
    groups: tuple[str, ...] = ()
    allowed_at: int = 0


Verdict = Pending | TooFast | Denied | Expired | Approved


def poll(device: DeviceAuthorization, decision: DeviceDecision | None, pace: DevicePace, *, now: int) -> Verdict:
    """The answer to a device that polls at second `now` (RFC 8628 section 3.5).

    A decision takes precedence over `TooFast`, since there is nothing more to wait for. Expiry takes precedence
    over a decision: a device code that an attacker finds later must be worthless.
    """
    if now >= device.expires_at:
        return Expired()
    if decision is not None:
        if decision.user is None:
            return Denied()
        return Approved(decision.user, decision.sealed_github_token, decision.groups, decision.allowed_at)
    waited = None if pace.polled_at is None else now - pace.polled_at
    if waited is None or waited >= pace.interval - _TOLERANCE:
        return Pending(replace(pace, polled_at=now))
    if waited >= INTERVAL - _TOLERANCE:
        # The device keeps to the first interval. The next poll is measured from the same moment: otherwise such a
        # device would get `slow_down` forever.
        return TooFast(pace)
    longest = device.expires_at - device.created_at
    return TooFast(DevicePace(interval=min(pace.interval + SLOWER, longest), polled_at=now))


def is_open(device: DeviceAuthorization, decision: DeviceDecision | None, *, now: int) -> bool:
    """Whether a person may still decide about `device`."""
    return decision is None and now < device.expires_at


def grant_from(device: DeviceAuthorization, approved: Approved, *, now: int, lifetime: int) -> Grant:
    """The grant for an approved device; `lifetime` is in seconds."""
    return Grant(
        grant_id=device.grant_id,
        client_id=device.client_id,
        user=approved.user,
        sealed_github_token=approved.sealed_github_token,
        groups=approved.groups,
        scopes=device.scopes,
        resources=device.resources,
        created_at=now,
        expires_at=now + lifetime,
    )
