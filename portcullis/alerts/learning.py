"""Judges each hour of each caller by its baseline, puts what is unusual into the outbox, and learns the hour."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portcullis.alerts.alert import UNUSUAL_HOUR, UNUSUAL_REQUESTS, Alert
from portcullis.alerts.outbox import Found, new_id
from portcullis.audit import moments
from portcullis.audit.reading import Reading
from portcullis.detection.detecting import EventPlace, Values
from portcullis.detection.levels import reaches
from portcullis.detection.profiles import Profiles, ProfilesError, activities_of, hour_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from portcullis.alerts.outbox import Outbox
    from portcullis.audit.reading import StoredEvent
    from portcullis.audit.sealing import Sealing
    from portcullis.detection.profiles import Unusual

LEVELS = {UNUSUAL_REQUESTS: "medium", UNUSUAL_HOUR: "informational"}
TITLES = {UNUSUAL_REQUESTS: "More calls than usual", UNUSUAL_HOUR: "Calls at an unusual hour"}
REASONS = {
    UNUSUAL_REQUESTS: "In one hour a person, or a client that acts as itself, made far more calls than before. "
    "A stolen token, or a model that follows instructions in what it read, shows like this.",
    UNUSUAL_HOUR: "A person, or a client that acts as itself, made calls in an hour of the day in which it made "
    "none in the weeks before, nor in the hours beside it.",
}
_FALSE_ALARMS = {
    UNUSUAL_REQUESTS: ("A long task of an agent; a program that runs for the first time",),
    UNUSUAL_HOUR: ("Travel, an incident, or a program that runs by a timer for the first time",),
}
HOURS_AT_ONCE = 24
"""Hours that are learnt in one step, so that a first start does not keep other rules waiting."""
_NEW_HOURS = 24
"""Older hours are learnt only: an alert would come too late."""


@dataclass(frozen=True)
class Learner:
    """Learns from the hours that have ended. `path` is the file of profiles."""

    audit_dir: Path
    path: Path
    lowest: Mapping[str, str]
    issuer: str
    node: str
    sealing: Callable[[], Sealing]
    window: float
    now: Callable[[], float]

    def step(self, outbox: Outbox) -> list[str]:
        """Learn the hours that wait, the oldest first. Return the faults. Raises `OutboxError`."""
        sealing = self.sealing()
        if not sealing.is_known:
            return []  # the rules report it
        try:
            with closing(Profiles(self.path)) as profiles:
                return self._learn(profiles, sealing, outbox)
        except ProfilesError as error:
            return [f"baselines cannot be used: {error}"]

    def _learn(self, profiles: Profiles, sealing: Sealing, outbox: Outbox) -> list[str]:
        reading = Reading()
        for _ in range(HOURS_AT_ONCE):
            hour = profiles.next_hour(self.now())
            if hour is None:
                break
            activities, are_sealed = activities_of(self.audit_dir, hour, sealing, reading)
            if not are_sealed:
                break
            unusual, learnt = profiles.judge(hour, activities)
            if hour >= hour_of(self.now()) - _NEW_HOURS:
                for each in unusual:
                    self._add(each, outbox)
            # After the alerts: a process that is killed in between judges the hour again, and the outbox knows it.
            profiles.keep(hour, learnt)
        return [f"a part of the record could not be read: {fault}" for fault in reading.faults[:1]]

    def _add(self, unusual: Unusual, outbox: Outbox) -> None:
        now = self.now()
        raised = moments.recorded(datetime.fromtimestamp(now, UTC))
        activity, judgement = unusual.activity, unusual.judgement
        for rule, because in because_of(unusual):
            if not any(reaches(LEVELS[rule], lowest) for lowest in self.lowest.values()):
                continue
            caller = activity.caller
            is_person = caller.user_id is not None
            name, value = ("user_id", str(caller.user_id)) if is_person else ("client_id", str(caller.client_id))
            values = {name: Values((value,), 1)}
            if activity.login is not None:
                values["user"] = Values((activity.login,), 1)
            alert = Alert(
                id=new_id(),
                raised=raised,
                rule=rule,
                title=TITLES[rule],
                level=LEVELS[rule],
                reason=REASONS[rule],
                subject=f"{name} {value}",
                gateway=self.issuer,
                node=self.node,
                because=because,
                events=judgement.calls,
                first=asdict(place_of(activity.first)),
                last=asdict(place_of(activity.last)),
                values={field: asdict(each) for field, each in values.items()},
                false_alarms=_FALSE_ALARMS[rule],
                extent=(f"portcullis audit timeline user:{value} --since -1d",) if is_person else (),
                end=(f"portcullis users revoke id:{value}",) if is_person else (),
            )
            outbox.add(Found(alert, alert.subject, activity.last.time), self.lowest, now=now, window=self.window)


def because_of(unusual: Unusual) -> Iterator[tuple[str, str]]:
    """The rules that an hour fulfils, each with its numbers in words."""
    judgement, baseline = unusual.judgement, unusual.baseline
    if judgement.is_excessive:
        text = f"{judgement.calls} calls in one hour, more than {judgement.bound}; usual are "
        text += (
            f"{round(baseline.mean * baseline.mean)} in an hour with calls, and {round(baseline.peak)} at most, "
        )
        yield UNUSUAL_REQUESTS, text + f"from {baseline.hours} hours on {baseline.days} days"
    if judgement.is_new_hour:
        hour = unusual.activity.first.time[11:13]
        yield UNUSUAL_HOUR, f"calls at {hour} UTC, and none at or beside this hour on {baseline.days} days before"


def place_of(event: StoredEvent) -> EventPlace:
    return EventPlace(f"{event.node}/{event.writer}/{event.boot}/{event.sequence}", event.time)
