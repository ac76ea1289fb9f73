"""Follows the segments of an audit folder: returns the events that were added since the last call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit_log.entries import NO_NODE
from oauth_core.audit_log.frames import FrameError, FrameKind
from portcullis.audit.deletions import DeletionNotes
from portcullis.audit.reading import events_of
from portcullis.audit.sealed_folder import NAME
from portcullis.audit.segments import BootReader, Damage, DamageKind, boots, node_of, opening_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.audit_log.frames import Frame
    from portcullis.audit.reading import Reading, StoredEvent, Wanted
    from portcullis.audit.segments import Boot, StoredFrame


class Follower:
    """Follows all boots of an audit folder, also those that begin later."""

    def __init__(self, audit_dir: Path, wanted: Wanted, reading: Reading) -> None:
        """Begin at the present end of each boot."""
        self._audit_dir = audit_dir
        self._wanted = wanted
        self._reading = reading
        self._readers: dict[Boot, BootReader] = {}
        self._nodes: dict[Boot, str] = {}
        self._closed: set[Boot] = set()
        self._ends: dict[tuple[str, str], int] = {}
        for boot in boots(audit_dir):
            self._begin(boot)

    def _begin(self, boot: Boot) -> None:
        # The last segment has no frame for a moment after it is made: the one before it has the last event then.
        for index in reversed(boot.segments()):
            self._readers[boot] = BootReader(boot, segment=index)
            for frame in self._frames(boot, self._readers[boot]):
                self._ends[boot.writer, boot.name] = frame.following
            if (boot.writer, boot.name) in self._ends:
                return

    def is_before(self, event: StoredEvent) -> bool:
        """Return whether the event is before the place where the following began."""
        return event.sequence < self._ends.get((event.writer, event.boot), 0)

    def added(self) -> list[StoredEvent]:
        """Return the wanted events that were added since the last call, by their times."""
        found: list[StoredEvent] = []
        for boot in boots(self._audit_dir):
            if boot in self._closed:
                continue
            reader = self._readers.setdefault(boot, BootReader(boot))
            for frame in self._frames(boot, reader):
                found += self._events(boot, frame)
        return sorted(found, key=lambda event: event.time)

    def _frames(self, boot: Boot, reader: BootReader) -> Iterator[Frame]:
        deleted: set[int] | None = None
        try:
            for found in reader.read():
                if isinstance(found, Damage):
                    if found.kind is DamageKind.NO_SEGMENT:
                        if deleted is None:
                            deleted = DeletionNotes(self._audit_dir / NAME).named().get(boot.key, set())
                        if found.segment in deleted:
                            continue
                    self._reading.fault(f"{boot.writer}/{boot.name}, {found}")
                    continue
                self._note(boot, found)
                yield found.frame
        except OSError as error:
            self._reading.fault(f"{boot.writer}/{boot.name}: {error.strerror or error}")

    def _note(self, boot: Boot, found: StoredFrame) -> None:
        if found.frame.kind is FrameKind.OPENING:
            self._nodes[boot] = node_of(opening_of(found.frame))
        elif found.frame.kind is FrameKind.CLOSING:
            self._closed.add(boot)

    def _events(self, boot: Boot, frame: Frame) -> Iterator[StoredEvent]:
        if frame.kind is not FrameKind.EVENTS:
            return
        try:
            lines = frame.lines()
        except FrameError as error:
            self._reading.fault(f"{boot.writer}/{boot.name}: frame {frame.number}: {error}")
            return
        node = self._nodes.get(boot, NO_NODE)
        yield from events_of(frame, boot, node, enumerate(lines), wanted=self._wanted, reading=self._reading)
