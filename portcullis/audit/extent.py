"""The extent of some events: how many of each kind, and which services, tools, clients and addresses they name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from portcullis.audit.filters import tool_of
from portcullis.audit.shown import person, printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MOST_VALUES = 10_000
"""Different values of one part that are counted, so that memory stays bounded."""
_SHOWN = 10


class Extent:
    """Counts events by what they name."""

    def __init__(self) -> None:
        names = ("events", "services", "tools", "people", "clients", "addresses", "tokens", "refused because")
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in names}
        self._first = self._last = ""

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one event. An intent is not counted: the same event follows with its outcome."""
        if event.get("outcome") == "intent":
            return
        is_refused = event.get("outcome") in {"denied", "failure"}
        values = {
            "events": event.get("event"),
            "services": event.get("service"),
            "tools": tool_of(event),
            "people": person(event),
            "clients": event.get("client_id"),
            "addresses": event.get("source"),
            "tokens": event.get("jti"),
            "refused because": event.get("reason") if is_refused else None,
        }
        for name, value in values.items():
            counts = self._counts[name]
            if value is not None and (str(value) in counts or len(counts) < _MOST_VALUES):
                counts[str(value)] += 1
        time = str(event.get("time", ""))
        self._first, self._last = min(self._first or time, time), max(self._last, time)

    def lines(self) -> Iterator[str]:
        """The counts for people, the largest first."""
        if self._first:
            yield f"{'from':<16} {printable(self._first)}"
            yield f"{'to':<16} {printable(self._last)}"
        for name, counts in self._counts.items():
            if not counts:
                continue
            # Equal counts in the order of their names, so that the same record has the same text.
            largest = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
            listed = ", ".join(f"{printable(value)} ({count})" for value, count in largest)
            others = len(counts) - len(largest)
            at_least = "at least " if len(counts) == _MOST_VALUES else ""
            yield f"{name:<16} {listed}{f' and {at_least}{others} more' if others else ''}"
