"""The audit sink of a program: its segments, if the settings name a folder for them, and text in the log.

With segments, these are the record: text that cannot be written is dropped. Without, the text is the record.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from oauth_core.audit import AuditRecorder, NotRecordedError, Outcome, members
from oauth_core.process.audit_segments import PATIENCE_SECONDS, SLOW_SECONDS, SegmentWriter, prepare, this_node
from oauth_core.process.logs import LogAuditSink

if TYPE_CHECKING:
    from oauth_core.audit import AuditEvent, AuditSink, EventKind
    from oauth_core.settings import GatewaySettings


class Timestamps:
    """The present time in text. The part down to the second is made once a second."""

    def __init__(self) -> None:
        self._second = ""
        self._text = ""

    def now(self) -> str:
        """Return the time in RFC 3339, in UTC, to the microsecond."""
        nanoseconds = str(time.time_ns())
        second = nanoseconds[:-9]
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(int(second)))
        return f"{self._text}{nanoseconds[-9:-3]}Z"


class AuditOutput:
    """Records to `segments`, and to `text`, whichever there is."""

    def __init__(self, segments: SegmentWriter | None, text: AuditSink | None) -> None:
        self.segments = segments
        self.text = text
        self.timestamps = Timestamps()

    @property
    def is_available(self) -> bool:
        """Whether what is recorded now will be on the disk in time. Without segments no program can know."""
        return self.segments is None or self.segments.is_available

    def record(self, event: AuditEvent) -> None:
        """Record `event`. Without segments it raises the errors of the text.

        The text has only what happened: no intents, and no failures of what was intended.
        """
        if self.segments is None:
            if self.text is not None and event.differs is None:
                self.text.record(event)
            return
        self.segments.record(event, self.timestamps.now(), members(event))
        if self.text is not None and event.differs is None:
            with suppress(OSError, ValueError):
                self.text.record(event)

    def flush(self, seconds: float = SLOW_SECONDS) -> None:
        """Return once all that was recorded is on the disk. Raises `NotRecordedError` after this time."""
        if self.segments is not None:
            self.segments.flush(seconds)

    async def flushed(self, seconds: float = SLOW_SECONDS) -> None:
        """Do what `flush` does, without blocking the event loop."""
        if self.segments is not None:
            await self.segments.flushed(seconds)

    def close(self) -> None:
        """Write everything, and mark the record of this process as complete."""
        if self.segments is not None:
            self.segments.close()


class DurableRecorder(AuditRecorder):
    """A recorder for actions that must not happen without a record."""

    def __init__(self, output: AuditOutput, **given: Any) -> None:
        """The other arguments are those of `AuditRecorder`."""
        super().__init__(output, **given)
        self._output = output

    @property
    def is_available(self) -> bool:
        """Whether what is recorded now will be on the disk in time."""
        return self._output.is_available

    async def intend(self, kind: EventKind, **what: Any) -> None:
        """Record that `kind` is about to happen, and return once that is on the disk.

        The other arguments are those of `record`. Raises `NotRecordedError`: then it must not happen. Without
        segments there are no intents.
        """
        await self._intend(kind, SLOW_SECONDS, what)

    async def intend_to_end(self, kind: EventKind, **what: Any) -> None:
        """Record the intent of an action that takes rights away.

        Unlike `intend` it never raises `NotRecordedError`: the action must happen even without a record.
        """
        with suppress(NotRecordedError):
            await self._intend(kind, PATIENCE_SECONDS, what)

    async def _intend(self, kind: EventKind, seconds: float, what: dict[str, Any]) -> None:
        if self._output.segments is None:
            return
        if not self.is_available:
            raise NotRecordedError("the audit record cannot be written")
        self.record(kind, differs=Outcome.INTENT, **what)
        await self._output.flushed(seconds)


def open_output(settings: GatewaySettings, writer: str, *, prints: bool = False) -> AuditOutput:
    """Return the sink of the program that records as `writer`. Raises `SettingsError` for an unusable folder.

    With segments, a program that `prints` writes text too unless `audit_text` is false, others only if it is true.
    """
    if settings.audit_dir is None:
        return AuditOutput(None, LogAuditSink())
    prepare(settings.audit_dir)
    has_text = prints if settings.audit_text is None else settings.audit_text
    segments = SegmentWriter(settings.audit_dir, writer, node=settings.audit_node or this_node())
    return AuditOutput(segments, LogAuditSink() if has_text else None)
