"""Finds one event by its place: node, writer, boot and sequence number."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portcullis.audit.filters import EventFilter
from portcullis.audit.reading import Reading, events_of
from portcullis.audit.segments import BootReader, Damage, boots, node_of, opening_of

if TYPE_CHECKING:
    from pathlib import Path

    from portcullis.audit.reading import StoredEvent
    from portcullis.audit.segments import Boot

_PLACE = re.compile(r"([^/]+)/([^/]+)/([^/]+)/([1-9][0-9]{0,18})")


class PlaceError(ValueError):
    """There is no such event. The message says why."""


@dataclass(frozen=True, slots=True)
class FoundEvent:
    """One event, and where its frame is."""

    event: StoredEvent
    segment: Path
    offset: int


def find(audit_dir: Path, place: str) -> FoundEvent:
    """Return the event at `place`, which is NODE/WRITER/BOOT/SEQUENCE.

    Raises `PlaceError` if `place` has another form or no such event can be read, and `OSError`.
    """
    parts = _PLACE.fullmatch(place)
    if parts is None:
        raise PlaceError("write the place of an event as NODE/WRITER/BOOT/SEQUENCE")
    node, writer, name, number = parts.groups()
    boot = next((boot for boot in boots(audit_dir) if (boot.writer, boot.name) == (writer, name)), None)
    if boot is None:
        raise PlaceError(f"there is no boot {name} of {writer}")
    sequence = int(number)
    # The last segment that begins at this event or before it has it. The first frame has the number of the first
    # event.
    for index in reversed(boot.segments()):
        first, own_node = _beginning(boot, index)
        if first is not None and first > sequence:
            continue
        if own_node is not None and own_node != node:
            raise PlaceError(f"this boot of {writer} is of the node {own_node}")
        if (found := _in_segment(boot, index, sequence, node)) is not None:
            return found
    raise PlaceError(f"there is no event {sequence} in this boot of {writer}")


def _beginning(boot: Boot, index: int) -> tuple[int | None, str | None]:
    """The sequence number of the first event of a segment, and its node; `None` where they cannot be read."""
    found = next(BootReader(boot, segment=index).read_segment(), None)
    if found is None or isinstance(found, Damage):
        return None, None
    return found.frame.first, node_of(opening_of(found.frame))


def _in_segment(boot: Boot, index: int, sequence: int, node: str) -> FoundEvent | None:
    for found in BootReader(boot, segment=index).read_segment():
        if isinstance(found, Damage) or not found.frame.first <= sequence < found.frame.following:
            continue
        frame, reading = found.frame, Reading()
        try:
            line = frame.lines()[sequence - frame.first]
        except ValueError as error:
            raise PlaceError(f"the event cannot be read: {error}") from None
        lines = [(sequence - frame.first, line)]
        for event in events_of(frame, boot, node, lines, wanted=EventFilter(), reading=reading):
            return FoundEvent(event, boot.segment(index), found.offset)
        raise PlaceError(f"the event cannot be read: {reading.faults[0]}")
    return None
