"""Reads the events of all writers in the order of their times, and only those that match a filter.

Memory stays bounded: one frame of each boot whose events overlap, and for the order backwards the places of the
frames of one segment of each. A segment whose times cannot fit is not read. A frame without the texts that the
filter needs is decompressed and not parsed.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol

from oauth_core.audit_log import frames
from oauth_core.audit_log.entries import NO_NODE
from oauth_core.audit_log.frames import FrameError, FrameKind
from portcullis.audit import moments, record_files
from portcullis.audit.deletions import DeletionNotes
from portcullis.audit.sealed_folder import NAME
from portcullis.audit.segments import BootReader, Damage, boots, node_of, opening_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
    from pathlib import Path

    from oauth_core.audit_log.frames import Frame
    from portcullis.audit.segments import Boot

SLACK = timedelta(minutes=10)
"""How far the time of an event may lie outside the time in which its segment was open: a writer that waits for the
disk writes late, and clocks are set."""
_TIME = b'"time":"'
_TIME_BYTES = len("2026-11-30T08:15:00.000000Z")
_OPENING_BYTES = 4096
"""More than an opening frame has."""
_FIRST, _LAST = "", "~"
"""Texts before and after every recorded time."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event with its place in the record."""

    node: str
    writer: str
    boot: str
    sequence: int
    frame: int
    """The number of its frame."""
    digest: bytes
    """The digest of its frame."""
    line: bytes
    """The event as its writer wrote it."""
    fields: dict[str, Any]

    @property
    def place(self) -> str:
        """The name of the event: node, writer, boot and sequence number."""
        return f"{self.node}/{self.writer}/{self.boot}/{self.sequence}"

    @property
    def time(self) -> str:
        """The recorded time; empty where the event has none."""
        time = self.fields.get("time")
        return time if isinstance(time, str) else ""


class Wanted(Protocol):
    """The rule that chooses events."""

    @property
    def since(self) -> str | None:
        """The earliest recorded time of a wanted event."""

    @property
    def until(self) -> str | None:
        """The first recorded time that is too late."""

    def may_fit(self, text: bytes) -> bool:
        """Return whether one of the lines in `text` can be of a wanted event. This is fast and may be wrong."""

    def matches(self, event: Mapping[str, Any]) -> bool:
        """Return whether the event is wanted."""


class Indexed(Wanted, Protocol):
    """A rule that a query of an index can narrow down."""

    def alternatives(self) -> Sequence[Mapping[str, Sequence[str]]]:
        """Return some rules of which each wanted event fulfils one: the values that each field must be among.

        Besides fields there is `login`, which is the user in lower case. No rule at all fits every event.
        """


@dataclass
class Reading:
    """The faults and the amount of one reading of the record."""

    faults: list[str] = field(default_factory=list)
    """Places that could not be read, for people, without those above the limit."""
    more_faults: int = 0
    segments: int = 0
    """Segments that were read."""
    skipped: int = 0
    """Segments that were not read, because their times cannot fit."""

    def fault(self, text: str) -> None:
        """Note a place that could not be read, once."""
        if text in self.faults:
            return
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(text)
        else:
            self.more_faults += 1


_MOST_FAULTS = 100


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment of a boot, and the times between which its events can be."""

    boot: Boot
    index: int
    node: str
    begins: str
    ends: str
    is_last: bool


@dataclass(slots=True)
class Stream:
    """Events by their times, begun when they are first needed, and a bound before the first of them."""

    bound: TimeKey
    events: Iterator[StoredEvent]


@dataclass(frozen=True, slots=True)
class TimeKey:
    """A time as a key of order; `is_reversed` puts later times first."""

    time: str
    is_reversed: bool

    def __lt__(self, other: TimeKey) -> bool:
        return self.time > other.time if self.is_reversed else self.time < other.time


def events(
    audit_dir: Path,
    wanted: Wanted,
    reading: Reading,
    *,
    newest_first: bool = False,
    is_elsewhere: Callable[[Boot, int], bool] = lambda _boot, _index: False,
    others: Sequence[Stream] = (),
) -> Iterator[StoredEvent]:
    """Yield the events that `wanted` fits, by their times; those of one boot in the order of its writing.

    Parts that cannot be read are noted in `reading`, and all others are yielded. Segments that are `elsewhere` are
    not read; their events are in the streams `others`, whose order is the same.
    """
    streams = [*others]
    # `verify` proves that a note is signed, and that nothing else is missing.
    deleted = DeletionNotes(audit_dir / NAME).named()
    for boot in boots(audit_dir):
        listed = boot.segments()
        for sentence in _gaps({*listed, *deleted.get(boot.key, ())}, before=listed[-1] if listed else 0):
            reading.fault(f"{boot.key}, {sentence}")
        segments = [
            _segment(boot, index, is_last=index == listed[-1]) for index in listed if not is_elsewhere(boot, index)
        ]
        fitting = [one for one in segments if _may_have(one, wanted)]
        reading.skipped += len(segments) - len(fitting)
        if not fitting:
            continue
        if newest_first:
            bound = TimeKey(max(one.ends for one in fitting), newest_first)
            fitting.reverse()
        else:
            bound = TimeKey(min(one.begins for one in fitting), newest_first)
        streams.append(Stream(bound, _wanted(fitting, wanted, reading, backwards=newest_first)))
    yield from _merged(streams, newest_first=newest_first)


def _gaps(known: Set[int], *, before: int) -> Iterator[str]:
    """Yield a sentence for each gap. The work is that of the known numbers: a gap can have 999,999,998."""
    for last, following in pairwise([0, *sorted(index for index in known if index <= before)]):
        first, end = last + 1, following - 1
        if first == end:
            yield f"segment {first:06} is missing"
        elif first < end:
            yield f"segments {first:06} to {end:06} are missing"


def opening(segment: Path) -> dict[str, Any]:
    """Return what the first frame of a segment says of it. Raises `OSError`, or `ValueError` for another frame."""
    with record_files.reading(segment) as file:
        first = frames.read(file.read(_OPENING_BYTES))
    if first is None or not (found := opening_of(first)):
        raise ValueError("the segment does not begin with its opening")
    return found


def _segment(boot: Boot, index: int, *, is_last: bool) -> _Segment:
    """A segment with what its opening says. Without one nothing is known of its times."""
    path = boot.segment(index)
    try:
        found = opening(path)
        hour = moments.read(found["time"]).replace(minute=0, second=0, microsecond=0)
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        # A segment is of one full hour, in which the clock may be set back. A later change of the file, or a copy
        # of it, only adds time.
        begins, ends = hour - SLACK, max(hour + timedelta(hours=1), written) + SLACK
        return _Segment(boot, index, node_of(found), moments.recorded(begins), moments.recorded(ends), is_last)
    except (OSError, ValueError, LookupError, TypeError, OverflowError):
        return _Segment(boot, index, NO_NODE, _FIRST, _LAST, is_last)


def _may_have(segment: _Segment, wanted: Wanted) -> bool:
    is_over = wanted.since is not None and segment.ends < wanted.since
    return not (is_over or (wanted.until is not None and segment.begins >= wanted.until))


def _merged(streams: Sequence[Stream], *, newest_first: bool) -> Iterator[StoredEvent]:
    """Merge streams by time. A stream is begun when its bound is reached, so that few are open at once."""
    waiting = sorted(streams, key=lambda stream: stream.bound, reverse=True)
    heap: list[tuple[TimeKey, int, StoredEvent, Iterator[StoredEvent]]] = []
    begun = 0
    while waiting or heap:
        while waiting and not (heap and heap[0][0] < waiting[-1].bound):
            stream = waiting.pop().events
            begun += 1
            if (event := next(stream, None)) is not None:
                heapq.heappush(heap, (TimeKey(event.time, newest_first), begun, event, stream))
        if not heap:
            continue
        _, number, event, stream = heap[0]
        yield event
        if (following := next(stream, None)) is None:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (TimeKey(following.time, newest_first), number, following, stream))


def _wanted(
    segments: Iterable[_Segment], wanted: Wanted, reading: Reading, *, backwards: bool
) -> Iterator[StoredEvent]:
    choose = _chooser(wanted)
    chosen: Iterable[tuple[int, bytes]]
    for segment in segments:
        reading.segments += 1
        for frame in _frames(segment, reading, backwards=backwards):
            if frame.kind is not FrameKind.EVENTS:
                continue
            try:
                chosen = choose(frame)
            except FrameError as error:
                reading.fault(f"{_name(segment)}: frame {frame.number}: {error}")
                continue
            chosen = reversed(chosen) if backwards else chosen
            yield from events_of(frame, segment.boot, segment.node, chosen, wanted=wanted, reading=reading)


def events_of(
    frame: Frame,
    boot: Boot,
    node: str,
    lines: Iterable[tuple[int, bytes]],
    *,
    wanted: Wanted,
    reading: Reading,
) -> Iterator[StoredEvent]:
    """Yield the wanted events of these lines of a frame; each line comes with its place in the frame."""
    for position, line in lines:
        try:
            fields = json.loads(line)
        except (ValueError, RecursionError):
            fields = None
        sequence = frame.first + position
        if not isinstance(fields, dict):
            reading.fault(f"{boot.writer}/{boot.name}: event {sequence} is no JSON object")
        elif wanted.matches(fields):
            yield StoredEvent(node, boot.writer, boot.name, sequence, frame.number, frame.digest, line, fields)


def _name(segment: _Segment) -> str:
    return f"{segment.boot.writer}/{segment.boot.name}, segment {segment.index:06}"


def _frames(segment: _Segment, reading: Reading, *, backwards: bool) -> Iterator[Frame]:
    """The frames of one segment. For the order backwards, their places are read first."""
    places: list[tuple[int, int]] = []
    try:
        reader = BootReader(segment.boot, segment=segment.index)
        for found in reader.read_segment():
            if isinstance(found, Damage):
                reading.fault(f"{segment.boot.writer}/{segment.boot.name}, {found}")
            elif backwards:
                places.append((found.offset, found.frame.size))
            else:
                yield found.frame
        if reader.tail and not segment.is_last:
            reading.fault(f"{_name(segment)}: a frame is cut off at byte {reader.offset}")
        if places:
            with record_files.reading(segment.boot.segment(segment.index)) as file:
                for offset, size in reversed(places):
                    file.seek(offset)
                    frame = frames.read(file.read(size))
                    if frame is not None:
                        yield frame
    except OSError as error:
        reading.fault(f"{_name(segment)}: {error.strerror or error}")


def _chooser(wanted: Wanted) -> Callable[[Frame], list[tuple[int, bytes]]]:
    """A function that returns the lines of a frame that `wanted` may fit, each with its place."""
    may_fit = wanted.may_fit
    since, until = (None if time is None else time.encode() for time in (wanted.since, wanted.until))

    def is_in_time(line: bytes) -> bool:
        place = line.find(_TIME)
        # A value cannot have this text: JSON writes its quotation marks with a backslash.
        if place < 0:
            return True
        time = line[place + len(_TIME) : place + len(_TIME) + _TIME_BYTES]
        return (since is None or time >= since) and (until is None or time < until)

    def choose(frame: Frame) -> list[tuple[int, bytes]]:
        text = frame.text()
        if not may_fit(text):
            return []
        return [
            (position, line)
            for position, line in enumerate(frame.lines_of(text))
            if may_fit(line) and is_in_time(line)
        ]

    return choose
