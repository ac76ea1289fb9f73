"""Reads the times that people write on a command line: RFC 3339, a date, or how long ago."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"-([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
FORMS = "write a time such as 2026-11-30T08:15:00Z, a date such as 2026-11-30, or how long ago: -2h, -7d"


def parse(text: str, *, now: datetime, is_end: bool = False) -> datetime:
    """Return the moment that `text` means, in UTC.

    The units of `-2h` are s, m, h, d and w (seconds to weeks), before `now`. A date is a day in UTC: its
    beginning, or with `is_end` the beginning of the next day, so that the day is included. Raises `ValueError`.
    """
    try:
        if found := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        if _DATE.fullmatch(text):
            return datetime.fromisoformat(text).replace(tzinfo=UTC) + timedelta(days=1 if is_end else 0)
        return read(text)
    except (ValueError, OverflowError):
        raise ValueError(FORMS) from None


def duration(text: str) -> timedelta:
    """Return the time that `2h` means; the units are s, m, h, d and w (seconds to weeks). Raises `ValueError`."""
    found = _AGO.fullmatch(f"-{text}")
    if found is None:
        raise ValueError("write a number and a unit, such as 30m, 2h or 7d")
    try:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise ValueError("that is too long") from None


def read(text: str) -> datetime:
    """Return the moment of a time in the form of RFC 3339, in UTC. Raises `ValueError` and `OverflowError`."""
    if not _TIME.fullmatch(text):
        raise ValueError("no time of RFC 3339")
    return datetime.fromisoformat(text.upper()).astimezone(UTC)


def recorded(moment: datetime) -> str:
    """Return `moment` as events have it: RFC 3339 in UTC with microseconds and `Z`. Such texts sort by time."""
    # Not `strftime`, which writes years before 1000 with fewer digits.
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
