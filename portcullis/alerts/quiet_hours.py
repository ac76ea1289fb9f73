"""Quiet hours: the times of day in which only critical alerts are sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo


@dataclass(frozen=True)
class QuietHours:
    """From `begin` to `end`, which is not quiet any more; over midnight if `end` is the earlier one."""

    begin: time
    end: time
    zone: tzinfo = UTC

    def end_after(self, moment: datetime) -> datetime | None:
        """Return when the quiet hours around `moment` end, in UTC, or `None` if it is not in them."""
        local = moment.astimezone(self.zone)
        if not self._holds(local.time()):
            return None
        # On a day on which the clock is changed, the end may be there twice or not at all.
        ends = (
            datetime.combine(local.date() + timedelta(days=days), self.end, self.zone).replace(fold=fold)
            for days in (0, 1, 2)
            for fold in (0, 1)
        )
        later = [end for end in (end.astimezone(UTC) for end in ends) if end > moment]
        return min(end for end in later if not self._holds(end.astimezone(self.zone).time()))

    def _holds(self, now: time) -> bool:
        if self.begin < self.end:
            return self.begin <= now < self.end
        return now >= self.begin or now < self.end
