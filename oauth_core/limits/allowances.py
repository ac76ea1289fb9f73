"""Allowances: how many calls a limit permits, as arithmetic on one integer of state and a given time.

A rate is a bucket that holds `count` permits and gets one back each time a part of its period has passed (the
generic cell rate algorithm). So `count` calls may come at once, and in any time T at most `count` and those that
T gives back. A quota counts the calls of a day of UTC.

The state 0 is that of a subject that has not called yet. Times are integers, so nothing is rounded in favour of a
caller. `oauth_core.store.records.call_permits` has the same arithmetic as a script of Redis.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

SECOND = 1_000_000
"""Microseconds."""

DAY = 86_400 * SECOND

RATE_PATTERN = r"^[1-9][0-9]{0,6}/(second|minute|hour|day)$"
QUOTA_PATTERN = r"^[1-9][0-9]{0,8}/day$"

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_DAY_SHIFT = 32
_LONGEST_HOLD = 10 * SECOND


class Moment(NamedTuple):
    """A time in microseconds: `steady` of a clock that is never set, `wall` since the epoch."""

    steady: int
    wall: int


@dataclass(frozen=True, slots=True)
class CallRate:
    """A bucket of `count` permits that is filled again in `seconds`. Its state is when it is full again."""

    count: int
    seconds: int
    each: int = field(init=False, repr=False)
    """Microseconds after which one permit comes back, rounded up."""

    def __post_init__(self) -> None:
        """Compute `each` once: every call needs it."""
        object.__setattr__(self, "each", -(-self.seconds * SECOND // self.count))

    @property
    def hold(self) -> int:
        """Microseconds for which a process may keep permits that it got ahead of need."""
        return min(self.seconds * SECOND // 10, _LONGEST_HOLD)

    def free(self, state: int, moment: Moment) -> int:
        """How many permits are in the bucket."""
        return (self._size - self._missing(state, moment)) // self.each

    def wait(self, state: int, moment: Moment) -> int:
        """Microseconds until there is a permit; 0 if there is one."""
        return max(self._missing(state, moment) + self.each - self._size, 0)

    def after(self, state: int, moment: Moment, taken: int) -> int:
        """The state once so many permits are taken. A negative number gives permits back.

        With 0 it is the same state, or that of an empty bucket instead of one that lacks more.
        """
        return moment.steady + max(self._missing(state, moment) + taken * self.each, 0)

    @property
    def _size(self) -> int:
        """Microseconds in which an empty bucket is filled."""
        return self.each * self.count

    def _missing(self, state: int, moment: Moment) -> int:
        """Microseconds until the bucket is full.

        No bucket lacks more than all, even if its state is that of a slower rate which the settings had before.
        """
        return min(max(state - moment.steady, 0), self._size)

    def unfilled(self, unused: int, held: int) -> int:
        """How many of `unused` permits may go back after so many microseconds.

        The bucket may have been filled in that time. The permits of that time must not come back twice.
        """
        return max(unused - -(-held // self.each), 0)

    def __str__(self) -> str:
        """The text in the settings."""
        unit = next(name for name, seconds in _SECONDS.items() if seconds == self.seconds)
        return f"{self.count}/{unit}"


@dataclass(frozen=True, slots=True)
class CallQuota:
    """`count` permits for each day of UTC. Its state is a day and the permits taken in it."""

    count: int

    @property
    def each(self) -> int:
        """0: no permit comes back before the next day."""
        return 0

    @property
    def hold(self) -> int:
        """See `CallRate.hold`."""
        return _LONGEST_HOLD

    def free(self, state: int, moment: Moment) -> int:
        """How many permits are left today."""
        return max(self.count - self._taken(state, moment), 0)

    def wait(self, state: int, moment: Moment) -> int:
        """Microseconds until there is a permit; 0 if there is one."""
        return 0 if self.free(state, moment) else DAY - moment.wall % DAY

    def after(self, state: int, moment: Moment, taken: int) -> int:
        """The state once so many permits are taken. A negative number gives permits back."""
        return moment.wall // DAY << _DAY_SHIFT | max(self._taken(state, moment) + taken, 0)

    def unfilled(self, unused: int, held: int) -> int:  # noqa: ARG002 - as that of a rate
        """All of `unused`: a quota is not filled again on its day."""
        return unused

    def __str__(self) -> str:
        """The text in the settings."""
        return f"{self.count}/day"

    def _taken(self, state: int, moment: Moment) -> int:
        return state & (1 << _DAY_SHIFT) - 1 if state >> _DAY_SHIFT == moment.wall // DAY else 0


Allowance = CallRate | CallQuota


def read_rate(text: str) -> CallRate:
    """The rate in `60/minute`; a second, an hour or a day is possible too. Raises `ValueError`."""
    if not re.fullmatch(RATE_PATTERN, text):
        raise ValueError("must be a number of calls and a period, such as 60/minute")
    count, _, unit = text.partition("/")
    return CallRate(int(count), _SECONDS[unit])


def read_quota(text: str) -> CallQuota:
    """The quota in `1000/day`. Raises `ValueError`."""
    if not re.fullmatch(QUOTA_PATTERN, text):
        raise ValueError("must be a number of calls a day, such as 1000/day")
    return CallQuota(int(text.partition("/")[0]))
