"""How the values of a finding are named and listed for people, in `audit detect` and in alerts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from portcullis.audit.shown import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

LABELS = {
    "user": "people",
    "user_id": "accounts",
    "client_id": "clients",
    "operator": "operators",
    "service": "services",
    "tool": "tools",
    "source": "addresses",
    "network": "networks",
    "country": "countries",
    "as_name": "providers",
    "grant_id": "grants",
    "jti": "tokens",
}
"""For each field whose values a finding lists the name of these values."""


def listed(shown: Sequence[str], count: int) -> str:
    """The values on one line, and how many more there are. Callers choose some of them: see `printable`."""
    more = count - len(shown)
    return ", ".join(map(printable, shown)) + (f" and {more} more" if more > 0 else "")
