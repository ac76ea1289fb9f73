"""Runs rules over the events of a period, and returns what they find."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import duckdb

from portcullis.audit import moments
from portcullis.audit.locations import Locations
from portcullis.audit.reading import Reading, events
from portcullis.detection.events_table import VALUES, EventsTable
from portcullis.detection.levels import LEVELS
from portcullis.detection.needs import NeededEvents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from portcullis.audit.sealing import Sealing
    from portcullis.detection.rules import DetectionRule


@dataclass(frozen=True)
class Values:
    """The values of one field in the events of a finding: some of them, and how many there are."""

    shown: tuple[str, ...]
    count: int


@dataclass(frozen=True)
class EventPlace:
    """One event: its name, with which `portcullis audit show` finds it, and its time."""

    place: str
    time: str


@dataclass(frozen=True)
class Finding:
    """The finding of one rule for one group of events."""

    rule: DetectionRule
    group: dict[str, str]
    """The fields that the rule groups by, with their values."""
    metric: int
    """The number that the condition of a correlation compares: the highest one."""
    events: int
    first: EventPlace
    last: EventPlace
    values: dict[str, Values]
    is_sealed: bool


@dataclass
class Detection:
    """One run over the period from `since` to `until`, times as events have them."""

    since: str
    until: str
    reading: Reading = field(default_factory=Reading)
    findings: list[Finding] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """Rules that could not be run and databases that could not be used, each with the reason."""
    read: int = 0
    left_out: int = 0
    """Events that were not looked at because they are not sealed."""
    left_out_since: str | None = None
    """The time of the first of these events."""

    def run(
        self,
        audit_dir: Path,
        rules: Sequence[DetectionRule],
        sealing: Sealing,
        *,
        with_unsealed: bool = False,
        locations: Sequence[Path] = (),
    ) -> None:
        """Read the events that the rules need, and run each rule.

        `locations` are the databases of locations. Without one, rules that need it are left out.

        Raises `OSError` where events cannot be kept for the rules: the disk is full, or memory is.
        """
        try:
            with Locations(locations) as opened:
                self._look(audit_dir, rules, sealing, opened, with_unsealed=with_unsealed)
            self.faults += opened.faults
        except duckdb.Error as error:
            raise OSError(str(error).splitlines()[0]) from None

    def _look(
        self,
        audit_dir: Path,
        rules: Sequence[DetectionRule],
        sealing: Sealing,
        locations: Locations,
        *,
        with_unsealed: bool,
    ) -> None:
        rules = [rule for rule in rules if locations.files or not rule.needs_location]
        wanted = NeededEvents(
            tuple((need, before(self.since, rule.seconds)) for rule in rules for need in rule.needs), self.until
        )
        with EventsTable(locations.of) as table:
            for event in events(audit_dir, wanted, self.reading):
                is_sealed = sealing.covers(event)
                if is_sealed or with_unsealed:
                    table.add(event, is_sealed=is_sealed)
                else:
                    self.left_out += 1
                    time = str(event.fields.get("time"))
                    self.left_out_since = min(time, self.left_out_since or time)
            if untimed := table.close():
                self.reading.fault(f"{untimed} events have no time that can be read")
            self.read = table.count
            for rule in rules:
                self._run(rule, table)
        self.findings.sort(key=lambda one: (LEVELS.index(one.rule.level), one.rule.name, one.first.time))

    def _run(self, rule: DetectionRule, table: EventsTable) -> None:
        try:
            rows = table.rows(rule.query, since=_tick(self.since))
        except duckdb.Error as error:
            self.faults.append(f"{rule.name}: {str(error).splitlines()[0]}")
            return
        self.findings += [_finding(rule, row, table) for row in rows]


def _finding(rule: DetectionRule, row: dict[str, Any], table: EventsTable) -> Finding:
    values = _values_of(row)
    if "grant_id" in values and "user_id" not in values:
        # Events of refresh tokens and codes name the grant; the events of its issue have the person too.
        values = _values_of(row | table.people_of(values["grant_id"].shown))
    return Finding(
        rule,
        dict(zip(rule.group_by, row["group_key"], strict=False)),
        int(row["metric"]),
        int(row["events"]),
        _place(row["first_event"]),
        _place(row["last_event"]),
        values,
        bool(row["sealed"]),
    )


def _values_of(row: dict[str, Any]) -> dict[str, Values]:
    return {
        name: Values(tuple(row[f"{name}_values"] or ()), int(row[f"{name}_count"]))
        for name in VALUES
        if row[f"{name}_count"]
    }


def _place(row: dict[str, Any]) -> EventPlace:
    return EventPlace(f"{row['node']}/{row['writer']}/{row['boot']}/{row['sequence']}", row["time"])


def before(time: str, seconds: float) -> str:
    """Return the recorded time this number of seconds before another one, or the earliest time that there is."""
    try:
        return moments.recorded(_moment(time) - timedelta(seconds=seconds))
    except OverflowError:
        return moments.recorded(datetime.min.replace(tzinfo=UTC))


def _moment(time: str) -> datetime:
    return datetime.fromisoformat(time).astimezone(UTC)


def _tick(time: str) -> int:
    """The tick of a time: nanoseconds since the epoch."""
    since = _moment(time) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since // timedelta(microseconds=1)) * 1000
