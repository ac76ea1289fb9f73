"""The usual calls of one person or one client, in a few numbers: pure arithmetic, which can be explained.

A baseline learns from each hour with calls. Counts are compared as square roots: the spread of counts grows with
their size, and that of their roots does not. `docs/baselines.md` compares this with other detectors.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from math import sqrt
from typing import Any, ClassVar

LEAST_DAYS, LEAST_HOURS = 5, 20
"""A baseline judges after so many different days and hours with calls."""
LEAST_CALLS = 60
"""Fewer calls in an hour are never unusual: one a minute."""
SPREADS = 6.0
"""An unusual hour is so many spreads above the mean of the roots, and above the highest hour."""
PEAK_FACTOR = 3.0
_RATE = 0.05
"""The weight of a new hour: twenty active hours are half of what is remembered."""
_LEAST_SPREAD = 0.5
"""The spread of the root of a count that varies by chance alone (Poisson)."""
_DAILY_DECAY = 0.98
"""After a month a day has half of its weight."""
_LEAST_DAYS_FOR_HOURS = 10
_RARE = 0.05
HOURS = 24


@dataclass(frozen=True)
class Judgement:
    """The judgement on one hour: the number of calls, the bound, and whether the hour of the day is a new one."""

    calls: int
    bound: int | None
    """More calls are unusual; `None` while too little is known."""
    is_new_hour: bool = False

    @property
    def is_excessive(self) -> bool:
        """Whether there were too many calls."""
        return self.bound is not None and self.calls > self.bound


@dataclass
class Baseline:
    """The numbers that are kept for one person or client."""

    peak_factor: ClassVar[float] = PEAK_FACTOR

    mean: float = 0.0
    """The mean of the roots of the counts of active hours, newer ones with more weight."""
    spread: float = 0.0
    """The mean distance from it."""
    peak: float = 0.0
    """The highest count, which becomes smaller by a fiftieth each day."""
    hours: int = 0
    days: int = 0
    last_day: int = -1
    """The last day with calls, counted from the epoch."""
    by_hour: list[float] = field(default_factory=lambda: [0.0] * HOURS)
    """For each hour of the day (UTC) the days with calls in it, older ones with less weight."""

    def judge(self, calls: int, hour: int) -> Judgement:
        """Judge the calls of an hour, which is counted from the epoch. It changes nothing."""
        bound = None
        if self.days >= LEAST_DAYS and self.hours >= LEAST_HOURS:
            root = self.mean + SPREADS * max(self.spread, _LEAST_SPREAD)
            bound = int(max(root * root, self.peak_factor * self.peak, LEAST_CALLS))
        of_day = hour % HOURS
        near = (self.by_hour[(of_day + step) % HOURS] for step in (-1, 0, 1))
        is_new = self.days >= _LEAST_DAYS_FOR_HOURS and all(weight < _RARE for weight in near)
        return Judgement(calls, bound, is_new)

    def learn(self, calls: int, hour: int) -> None:
        """Learn the calls of an hour. A count above the bound is learnt as the bound.

        So a thief cannot make the baseline high with one hour; a lasting change is learnt within days.
        """
        bound = self.judge(calls, hour).bound
        calls = calls if bound is None else min(calls, bound)
        root, day = sqrt(calls), hour // HOURS
        if day != self.last_day:
            passed = 1 if self.last_day < 0 else min(max(day - self.last_day, 0), 3650)
            decay = _DAILY_DECAY**passed
            self.by_hour = [weight * decay for weight in self.by_hour]
            self.peak *= decay
            self.days, self.last_day = self.days + 1, day
        rate = max(_RATE, 1 / (self.hours + 1))
        self.spread += rate * (abs(root - self.mean) - self.spread) if self.hours else 0.0
        self.mean += rate * (root - self.mean)
        self.peak = max(self.peak, float(calls))
        self.hours += 1
        self.by_hour[hour % HOURS] += 1.0

    def document(self) -> dict[str, Any]:
        """The numbers as JSON has them."""
        return asdict(self)

    @classmethod
    def of(cls, document: dict[str, Any]) -> Baseline:
        """The baseline of a document. Raises `TypeError` for another form."""
        return cls(**document)
