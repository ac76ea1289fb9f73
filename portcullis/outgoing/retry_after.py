"""The header `Retry-After` of an answer (RFC 9110 section 10.2.3): a number of seconds, or a date."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

_SECONDS = re.compile(r"[0-9]{1,18}")


def seconds_of(retry_after: str | None, now: float) -> float | None:
    """The seconds from `now` that the header means, or `None`; `now` is in seconds since the epoch."""
    text = (retry_after or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
