"""The meaning of a record, in the words that OTLP and syslog share: its fields, its severity and its time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from oauth_core.audit import Outcome
from portcullis.audit import moments
from portcullis.sinks.records import RecordKind

if TYPE_CHECKING:
    from portcullis.sinks.records import Record


class Severity(IntEnum):
    """Severities, by the numbers of RFC 5424 section 6.2.1."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


_OF_OUTCOME: dict[str, Severity] = {
    Outcome.ALLOWED: Severity.INFO,
    Outcome.SUCCESS: Severity.NOTICE,
    Outcome.DENIED: Severity.WARNING,
    Outcome.FAILURE: Severity.ERROR,
    Outcome.INTENT: Severity.DEBUG,
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """The name, the severity, the time and the fields of a record. Only an event has fields."""

    name: str
    severity: Severity
    time: datetime | None
    fields: dict[str, Any]


def meaning_of(record: Record) -> Meaning:
    """Read a record. An event that no program wrote has a name and a severity too."""
    if record.kind is not RecordKind.EVENT:
        return Meaning(f"audit.{record.kind.value}", Severity.DEBUG, _time(record.time), {})
    try:
        fields = json.loads(record.text)
    except (ValueError, RecursionError):
        fields = None
    if not isinstance(fields, dict):
        return Meaning("audit.unreadable", Severity.ERROR, None, {})
    name, outcome = fields.get("event"), fields.get("outcome")
    severity = _OF_OUTCOME.get(outcome, Severity.NOTICE) if isinstance(outcome, str) else Severity.NOTICE
    return Meaning(
        name if isinstance(name, str) else "audit.unreadable", severity, _time(fields.get("time")), fields
    )


def _time(text: object) -> datetime | None:
    try:
        found = moments.read(text) if isinstance(text, str) else None
    except (ValueError, OverflowError):
        return None
    # A forged time before the epoch fits into no number of OTLP.
    return found if found is not None and found >= datetime(1970, 1, 1, tzinfo=UTC) else None
