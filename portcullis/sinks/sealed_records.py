"""Makes the records of a sealed tree in its order, from the entries and from the segments.

The order of the tree is one order for the events of all programs. So one number is the whole place of a sink, and
what a sink has is always a beginning of what was sealed.
"""

from __future__ import annotations

import base64
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oauth_core.audit_log import frames
from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.entries import EntryError, FrameEntry, parse_entry
from oauth_core.audit_log.frames import FrameError, FrameKind
from oauth_core.audit_log.signed_notes import NoteError
from portcullis.audit import record_files
from portcullis.audit.sealed_folder import SealedFolder
from portcullis.audit.segments import Boot, BootReader, StoredFrame
from portcullis.audit.tree import TreeError, TreeReader
from portcullis.sinks.records import FRAME_PART, Record, RecordKind, line_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.entries import Entry
    from oauth_core.audit_log.frames import Frame
    from oauth_core.audit_log.signed_notes import VerifierKey
    from portcullis.audit.segments import Damage

_OPEN_BOOTS = 16
"""Boots whose segments are open at the same time."""
_KNOWN_PLACES = 10_000
_OPENING_BYTES = 4096


class UnusableRecordError(Exception):
    """The sealed tree cannot be read or is not what it was. The message says why."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where a sink goes on: the next entry of the tree, and how many events of its frame were sent."""

    index: int = 0
    events: int = 0


def tree_name(key: VerifierKey) -> str:
    """The name of the tree that a key signs: name and id of the key."""
    return f"{key.name}+{key.key_id.hex()}"


class SealedRecords:
    """Reads the record of one audit folder. Methods raise `UnusableRecordError` and `OSError`."""

    def __init__(
        self,
        audit_dir: Path,
        key: VerifierKey,
        *,
        with_frames: bool = False,
        read_key: Callable[[], VerifierKey | None] = lambda: None,
    ) -> None:
        """`read_key` reads the public key again: an operator can begin a new tree while this program runs."""
        self.key = key
        self._read_key = read_key
        self._audit_dir = audit_dir
        self._with_frames = with_frames
        self._folder = SealedFolder(audit_dir)
        self._boots: OrderedDict[str, _OpenBoot] = OrderedDict()
        self._places: OrderedDict[str, tuple[int, int]] = OrderedDict()

    @property
    def tree(self) -> str:
        """The name of the present tree."""
        return tree_name(self.key)

    def checkpoint(self) -> tuple[str, Checkpoint] | None:
        """The newest note and its checkpoint; `None` if there is none yet."""
        try:
            note = self._folder.read_checkpoint()
            return None if note is None else (note, self._opened(note))
        except (NoteError, UnicodeDecodeError) as error:
            raise UnusableRecordError(f"the checkpoint cannot be used: {error}") from None

    def _opened(self, note: str) -> Checkpoint:
        """Open a note by the key, or by that of a new tree. Raises `NoteError`."""
        try:
            return open_checkpoint(note, self.key)
        except NoteError:
            newer = self._read_key()
            if newer is None or newer == self.key:
                raise
            found = open_checkpoint(note, newer)
            self.key = newer
            return found

    def root_of(self, size: int) -> bytes:
        """The root of the first `size` entries, by the tiles."""
        try:
            return TreeReader(self._folder.root, size).root()
        except TreeError as error:
            raise UnusableRecordError(str(error)) from None

    def events_between(self, place: Place, end: int) -> int:
        """How many events there are from `place` to the entry `end`."""
        entries = self._entries(TreeReader(self._folder.root, end).entries(place.index))
        return sum(entry.count for _, entry in entries if isinstance(entry, FrameEntry)) - place.events

    def records(self, checkpoint: Checkpoint, place: Place) -> Iterator[tuple[Record, Place]]:
        """Yield the records from `place` to the end of the checkpoint's tree, each with the place behind it.

        Every entry is proven by the checkpoint.
        """
        proven = TreeReader(self._folder.root, checkpoint.size).proven_entries(checkpoint.root, place.index)
        index, skipped = place.index, place.events
        for data, entry in self._entries(proven):
            following = Place(index + 1)
            frame = self._frame_of(entry) if isinstance(entry, FrameEntry) else None
            lines = _lines_of(frame)
            if skipped >= len(lines):
                skipped = 0  # no event of the frame is left to skip to: the place is damaged, so send all again
            own = Record(
                RecordKind.ENTRY,
                self.tree,
                data.decode("ascii"),
                node=entry.node,
                writer=entry.writer,
                boot=entry.boot,
                index=index,
            )
            if frame is not None and self._with_frames:
                yield from ((part, Place(index, skipped)) for part in _parts(frame, own))
            if not lines or frame is None:
                yield own, following
                lines = []
            for number, line in enumerate(lines):
                if number < skipped:
                    continue
                is_last = number == len(lines) - 1
                event = replace(
                    own,
                    kind=RecordKind.EVENT,
                    text=line_text(line),
                    sequence=entry.first + number if isinstance(entry, FrameEntry) else 0,
                    index=index if is_last else None,
                    entry=own.text if is_last else None,
                )
                yield event, following if is_last else Place(index, number + 1)
            index, skipped = following.index, 0

    def close(self) -> None:
        """Close the segments."""
        while self._boots:
            self._boots.popitem()[1].close()

    def _entries(self, found: Iterator[bytes]) -> Iterator[tuple[bytes, Entry]]:
        try:
            for data in found:
                yield data, parse_entry(data)
        except (TreeError, EntryError) as error:
            raise UnusableRecordError(f"{error}; run `portcullis audit verify`") from None

    def _frame_of(self, entry: FrameEntry) -> Frame | None:
        """The stored frame of an entry; `None` if it is not there any more, or not as it was sealed."""
        boot = Boot.at(self._audit_dir, f"{entry.writer}/{entry.boot}")
        opened = self._boots.pop(boot.key, None)
        if opened is None:
            opened = _OpenBoot(boot, *self._places.pop(boot.key, (0, 0)))
        self._boots[boot.key] = opened
        if len(self._boots) > _OPEN_BOOTS:
            key, oldest = self._boots.popitem(last=False)
            self._places[key] = oldest.close()
            if len(self._places) > _KNOWN_PLACES:
                self._places.popitem(last=False)
        return opened.frame(entry)


class _OpenBoot:
    """Finds the frames of one boot, mostly one after the other."""

    def __init__(self, boot: Boot, segment: int, offset: int) -> None:
        self._boot = boot
        self._reader = BootReader(boot, segment=segment, offset=offset) if segment else None
        self._found: Iterator[StoredFrame | Damage] | None = None
        self._ahead: StoredFrame | None = None
        """A frame that was read while another one was looked for."""
        self._passed = 0
        """The number of the frame that was looked for last."""
        self._last: Frame | None = None

    def frame(self, entry: FrameEntry) -> Frame | None:
        """Return the frame of an entry, or `None`. Raises `OSError`."""
        if self._last is not None and self._last.digest == entry.digest:
            return self._last
        if entry.number <= self._passed:
            self._reset()  # the entries are not in the order of the frames, or are read again
        if self._reader is None:
            self._reader = BootReader(self._boot, segment=_segment_with(self._boot, entry.number))
        self._passed = entry.number
        for _ in range(2):  # the second time for what was added since the segment was opened
            while (found := self._following()) is not None:
                if found.frame.digest == entry.digest:
                    self._last = found.frame
                    return found.frame
                if found.frame.number > entry.number:
                    self._ahead = found
                    return None
            self._found = None
        return None

    def close(self) -> tuple[int, int]:
        """Close the segment; return segment and offset of the next frame, or zeros."""
        if self._ahead is not None:
            place = self._ahead.segment, self._ahead.offset
        else:
            place = (0, 0) if self._reader is None else (self._reader.segment, self._reader.offset)
        self._reset()
        return place

    def _following(self) -> StoredFrame | None:
        if self._ahead is not None:
            found, self._ahead = self._ahead, None
            return found
        if self._reader is None:
            return None
        if self._found is None:
            self._found = self._reader.read()
        return next((one for one in self._found if isinstance(one, StoredFrame)), None)

    def _reset(self) -> None:
        if self._found is not None and hasattr(self._found, "close"):
            self._found.close()
        self._found = self._reader = self._ahead = None


def _parts(frame: Frame, own: Record) -> Iterator[Record]:
    """Yield the records of a frame's bytes; `own` is that of its entry."""
    data = frames.encoded(frame)
    parts = -(-len(data) // FRAME_PART)
    for number in range(parts):
        text = base64.b64encode(data[number * FRAME_PART : (number + 1) * FRAME_PART]).decode("ascii")
        yield replace(own, kind=RecordKind.FRAME, text=text, part=number + 1, parts=parts)


def _segment_with(boot: Boot, number: int) -> int:
    """The segment that has the frame with this number, by the numbers of the first frames."""
    indexes = boot.segments()
    low, high = 0, len(indexes)
    while high - low > 1:
        middle = (low + high) // 2
        first = _first_number(boot.segment(indexes[middle]))
        if first is not None and first <= number:
            low = middle
        else:
            high = middle
    return indexes[low] if indexes else 1


def _first_number(segment: Path) -> int | None:
    try:
        with record_files.reading(segment) as file:
            frame = frames.read(file.read(_OPENING_BYTES))
    except (OSError, FrameError):
        return None
    return None if frame is None else frame.number


def _lines_of(frame: Frame | None) -> list[bytes]:
    if frame is None or frame.kind is not FrameKind.EVENTS:
        return []
    try:
        return frame.lines()
    except FrameError:
        return []
