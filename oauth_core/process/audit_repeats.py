"""Counts refusals of unknown callers that repeat, so that a flood of them does not fill the record.

Of the events of one second with the same kind, reason and source, the first is recorded as it is, and the others
as one event with their `count`. So that many sources cannot fill the record either, at most `MOST_A_SECOND` events
of a second are recorded as they are; the others are counted by kind and reason alone. A reason can have the text
of a caller, so after `MOST_COUNTS_A_SECOND` counts the others are counted by kind alone.

While the disk refuses, counts of earlier seconds wait in memory. Counts beyond `MOST_COUNTS` are dropped.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from oauth_core.audit import Outcome

if TYPE_CHECKING:
    from oauth_core.audit import AuditEvent, EventKind

    Key = tuple[EventKind, str | None, str | None]

MOST_A_SECOND = 50
"""Events of unknown callers that one process records as they are, in each second."""

MOST_COUNTS_A_SECOND = 100
"""Counts with a reason in each second. There is at most one more for each kind of event."""

MOST_COUNTS = 1000
"""Counts of earlier seconds that wait to be recorded."""


def is_anonymous(event: AuditEvent) -> bool:
    """Whether `event` is a refusal of a caller that proved to be no person and to hold no token."""
    proofs = (event.user_id, event.jti, event.grant_id, event.operator)
    return event.outcome is Outcome.DENIED and proofs == (None, None, None, None)


class Repeats:
    """The counts of the present second. May be used from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._second = 0
        self._firsts: set[Key] = set()
        self._counts: dict[Key, int] = {}
        self._ended: deque[tuple[Key, int]] = deque()
        self._dropped = 0

    def is_first(self, event: AuditEvent, second: int) -> bool:
        """Whether `event` must be recorded as it is. If not, it is counted, or as many events as it stands for."""
        key = (event.kind, event.reason, event.source)
        with self._lock:
            self._begin(second)
            if key not in self._firsts:
                if len(self._firsts) < MOST_A_SECOND:
                    self._firsts.add(key)
                    return True
                key = (event.kind, event.reason, None)
                if key not in self._counts and len(self._counts) >= MOST_COUNTS_A_SECOND:
                    key = (event.kind, None, None)
            self._counts[key] = self._counts.get(key, 0) + (event.count or 1)
            return False

    @property
    def is_pending(self) -> bool:
        """Whether counts wait to be recorded."""
        return bool(self._counts or self._ended)

    def take(self, second: int) -> tuple[Key, int] | None:
        """Return the oldest count of the seconds before `second`, which is then forgotten, or `None`."""
        with self._lock:
            self._begin(second)
            return self._ended.popleft() if self._ended else None

    def take_dropped(self) -> int:
        """Return how many events are in no count, since too many counts waited. They are then forgotten."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
            return dropped

    def _begin(self, second: int) -> None:
        if second == self._second:
            return
        for key, count in self._counts.items():
            if len(self._ended) < MOST_COUNTS:
                self._ended.append((key, count))
            else:
                self._dropped += count
        self._counts.clear()
        self._firsts.clear()
        self._second = second
