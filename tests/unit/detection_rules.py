"""Events of a day for tests of detection rules, and what a shipped rule finds among them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from oauth_core.audit import EventKind
from portcullis.audit import moments
from portcullis.audit.sealing import Sealing
from portcullis.detection.detecting import Detection, Finding
from portcullis.detection.rules import DetectionRule, load
from tests.support.audit_segments import write_segment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from oauth_core.refusals import DenyReason, OAuthReason

SINCE = datetime(2026, 11, 30, 6, 0, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=1)

Event = dict[str, object]
Case = tuple[str, list[Event]]


@cache
def shipped() -> dict[str, DetectionRule]:
    return {rule.name: rule for rule in load()}


def found_by(
    name: str, given: list[Event], folder: Path, *, faults: bool = False, locations: Sequence[Path] = ()
) -> list[Finding]:
    """The findings of one rule for these events, in the day from `SINCE` on; `faults` if an event
    cannot be read.
    """
    write_segment(folder, batches=[given])
    detection = Detection(moments.recorded(SINCE), moments.recorded(UNTIL))
    detection.run(
        folder, [shipped()[name]], Sealing(folder, folder / "no.pub"), with_unsealed=True, locations=locations
    )
    assert (detection.faults, bool(detection.reading.faults)) == ([], faults)
    return detection.findings


def at(kind: EventKind, minutes: float = 60, **fields: object) -> Event:
    """An event `minutes` minutes after `SINCE`."""
    time = moments.recorded(SINCE + timedelta(minutes=minutes))
    return {"v": 1, "time": time, "event": str(kind), "outcome": str(kind.outcome)} | fields


def several(count: int, kind: EventKind, *, every: float = 1, start: float = 60, **fields: Any) -> list[Event]:
    """`count` events, one every `every` minutes. A function makes a field from the number of the event."""
    return [
        at(
            kind,
            start + number * every,
            **{name: value(number) if callable(value) else value for name, value in fields.items()},
        )
        for number in range(count)
    ]


def denied(count: int, reason: DenyReason, **fields: Any) -> list[Event]:
    return several(count, EventKind.ACCESS_DENIED, reason=str(reason), **fields)


def refused(reason: OAuthReason) -> str:
    """The reason of an event as the endpoints write it."""
    return f"{reason.row.error}: {reason.row.description}"
