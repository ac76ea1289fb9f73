"""Accounts: the permits that one process has for one subject of one limit.

With the scope `worker` a process counts alone. With the scope `shared` Redis counts, and a process gets permits
from there in batches, ahead of need, and uses them without asking. A batch grows while it is used up early and
shrinks to what was used. Unused permits lapse after the hold of the allowance (`Allowance.hold`) and go back.

All processes together never have more permits than Redis gave. A permit is used at most one hold after Redis
gave it. So in any time T callers get at most what the allowance gives in T and one hold: at most a tenth of a
rate more.

A process counts alone too what it admits with permits of Redis. So when Redis is away it goes on from there, and
no caller gets a new bucket. Calls that it admits meanwhile are a debt, which it pays with the next permits of
Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from oauth_core.limits.allowances import Allowance, Moment

MOST_IN_A_BATCH = 1000


class Unused(NamedTuple):
    """Permits that lapsed: their number, and the day of Redis on which it gave them."""

    permits: int
    day: int


class Given(NamedTuple):
    """Permits that Redis gave, and the microseconds until it has another one (0: at once).

    The permits are good for `ends` microseconds at most (0: for the hold), on this `day` of Redis.
    """

    permits: int
    wait: int
    ends: int
    day: int


class Account:
    """Times are those of `Moment.steady`."""

    __slots__ = (
        "_batch",
        "_closed_until",
        "_day",
        "_debt",
        "_given",
        "_given_at",
        "_local",
        "_open_at",
        "permits",
        "until",
    )

    def __init__(self) -> None:
        self.permits = 0
        """Permits of Redis that are here, good before `until`."""
        self.until = 0
        self._day = 0
        self._given = 0
        self._given_at = 0
        self._batch = 1
        self._local = 0
        self._closed_until = 0
        self._debt = 0
        self._open_at = 0

    def wait_alone(self, allowance: Allowance, moment: Moment) -> int:
        """Microseconds until this process, counting alone, has a permit; 0 if there is one."""
        # The limit may have been slower, so that more is missing than this one has. Then this one begins empty.
        self._local = allowance.after(self._local, moment, 0)
        return allowance.wait(self._local, moment)

    def wait_shared(self, moment: Moment) -> int | None:
        """Microseconds until Redis has a permit, 0 if one is here; `None` if Redis must be asked."""
        steady = moment.steady
        if self.permits > 0 and steady < self.until:
            return 0
        return max(self._open_at - steady, 1) if steady < self._closed_until else None

    def take(self, allowance: Allowance, moment: Moment) -> None:
        """Use one permit."""
        self._local = allowance.after(self._local, moment, 1)
        if self.permits > 0:
            self.permits -= 1
        else:
            self._debt += 1

    def give_back(self, allowance: Allowance, moment: Moment) -> None:
        """Undo `take`: the call was refused after all."""
        self._local = allowance.after(self._local, moment, -1)
        if self._debt > 0:
            self._debt -= 1
        elif moment.steady < self.until and self.permits < self._given:
            self.permits += 1

    def demand(self, allowance: Allowance, needed: int, moment: Moment) -> tuple[int, int]:
        """How many permits are needed now, and how many to ask Redis for. `needed` callers wait."""
        used = self._given - self.permits
        self._batch = 2 * self._batch if moment.steady < self.until else used
        self._batch = min(max(self._batch, needed, 1), MOST_IN_A_BATCH)
        # More than this process counts itself came back by now.
        self._debt = min(self._debt, allowance.count - allowance.free(self._local, moment))
        return needed + self._debt, self._batch + self._debt

    def give(self, allowance: Allowance, asked_at: Moment, given: Given) -> None:
        """Add what Redis gave, which was asked at `asked_at`. Call `lapsed` before."""
        permits, wait, ends, day = given
        paid = min(self._debt, permits)
        self._debt -= paid
        self.permits = self._given = permits - paid
        self._given_at, self._day = asked_at.steady, day
        # The earlier time, at which Redis was asked, so that no permit is used later than one hold after it.
        self.until = asked_at.steady + min(allowance.hold, ends or allowance.hold)
        self._open_at = asked_at.steady + wait
        # Other processes may give permits back earlier, so Redis is asked again after a hold.
        self._closed_until = asked_at.steady + min(wait, allowance.hold)

    def lapsed(self, allowance: Allowance, moment: Moment) -> Unused | None:
        """Take unused permits out that are not good any more, and return those that go back to Redis."""
        if self.permits <= 0 or moment.steady < self.until:
            return None
        return self.emptied(allowance, moment)

    def emptied(self, allowance: Allowance, moment: Moment) -> Unused | None:
        """Take all unused permits out, and return those that go back to Redis."""
        back = allowance.unfilled(self.permits, moment.steady - self._given_at)
        self._given -= self.permits
        self.permits = 0
        return Unused(back, self._day) if back else None
