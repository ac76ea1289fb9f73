"""The segments of an audit folder: the boots that they have, and the frames of a boot in their order.

A boot is one start of a program. Its segments are `segments/<writer>/<boot>/000001.seg` and so on; the number of a
frame, the sequence number of an event and the chain of digests go on over all segments of a boot. A program may
write to its last segment while it is read here.
"""

from __future__ import annotations

import json
import re
import stat
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from oauth_core.audit_log.entries import NO_NODE, NODE
from oauth_core.audit_log.frames import MARKER, Frame, FrameError, FrameKind, read
from portcullis.audit import record_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

WRITER_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}\Z")
BOOT_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")
_SEGMENT = re.compile(r"(?:(?!000000)[0-9]{6}|[1-9][0-9]{6,8})\.seg\Z")
"""Each number in its one form: two files are never the same segment."""
_MOST_MISSING = 1000
"""Missing segments that are named in one gap. One file with the highest number makes a gap of 999,999,998."""
_PIECE = 1024 * 1024
"""Bytes that are read at once."""


@dataclass(frozen=True, slots=True, order=True)
class Boot:
    """One start of a writer, and the folder of its segments."""

    writer: str
    name: str
    folder: Path

    @classmethod
    def at(cls, audit_dir: Path, key: str) -> Boot:
        """The boot with this `key`, whether it exists or not."""
        writer, _, name = key.partition("/")
        return cls(writer, name, audit_dir / "segments" / writer / name)

    @property
    def key(self) -> str:
        """The name of the boot among all boots: `writer/name`."""
        return f"{self.writer}/{self.name}"

    def segment(self, index: int) -> Path:
        """The path of one segment, from 1."""
        return self.folder / f"{index:06}.seg"

    def segments(self) -> list[int]:
        """The numbers of the segments that exist, in their order. Empty if the folder cannot be read."""
        try:
            return sorted(int(path.stem) for path in self.folder.iterdir() if _SEGMENT.match(path.name))
        except OSError:
            return []


def boots(audit_dir: Path) -> list[Boot]:
    """The boots of an audit folder, by writer and then by time. Names of another form are left out."""
    return sorted(boot for writer in writers(audit_dir) for boot in boots_of(writer))


def writers(audit_dir: Path) -> list[Path]:
    """The folders of writers, in any order."""
    return [folder for folder in _folders(audit_dir / "segments") if WRITER_NAME.match(folder.name)]


def boots_of(writer: Path) -> list[Boot]:
    """The boots in the folder of a writer, in any order."""
    return [Boot(writer.name, folder.name, folder) for folder in _folders(writer) if BOOT_NAME.match(folder.name)]


def others(audit_dir: Path) -> list[Path]:
    """The files and folders among the segments that no writer makes, in the order of their paths."""
    root = audit_dir / "segments"
    kept = {boot.folder for boot in boots(audit_dir)}
    parents = {folder.parent for folder in kept}
    entries = [*_entries(root), *(entry for parent in parents for entry in _entries(parent))]
    found = {entry for entry in entries if entry not in kept and entry not in parents}
    found |= {entry for folder in kept for entry in _entries(folder) if not _SEGMENT.match(entry.name)}
    # A writer makes its own folder shortly before that of its boot.
    return sorted(
        path for path in found if not (WRITER_NAME.match(path.name) and path.is_dir() and not _entries(path))
    )


class DamageKind(Enum):
    """The kinds of damage to the bytes of a boot."""

    NO_FRAME = "bytes are no frame"
    NO_FILE = "the segment is no regular file"
    CUT = "a frame is cut off"
    SHORTER = "the segment is shorter than it was"
    NO_SEGMENT = "a segment is missing"


@dataclass(frozen=True, slots=True)
class StoredFrame:
    """A frame and its place: the number of its segment, and the offset in it."""

    frame: Frame
    segment: int
    offset: int


@dataclass(frozen=True, slots=True)
class Damage:
    """A place of a boot where its bytes are no frames. Reading goes on behind it."""

    kind: DamageKind
    segment: int
    offset: int
    detail: str

    def __str__(self) -> str:
        return f"segment {self.segment:06} at byte {self.offset}: {self.kind.value} ({self.detail})"


class BootReader:
    """Reads a boot in its order, and goes on where it stopped.

    `segment` and `offset` are the place after everything that `read` has returned; a new reader can begin there.
    `tail` is the number of bytes after it, the beginning of a frame that its writer has not finished.
    """

    def __init__(self, boot: Boot, *, segment: int = 1, offset: int = 0) -> None:
        self.boot = boot
        self.segment = segment
        self.offset = offset
        self.tail = 0

    def read(self) -> Iterator[StoredFrame | Damage]:
        """Yield what was added since the last call. Raises `OSError`."""
        while True:
            yield from self._rest()
            following = self.segment + 1
            if not self.boot.segment(following).exists():
                # One is missing, or there is none yet. A listing takes long where there are thousands.
                later = [index for index in self.boot.segments() if index > self.segment]
                if not later:
                    return
                following = later[0]
            # The writer may have added to this segment just before it began the next one.
            yield from self._rest()
            damages: list[Damage] = []
            if self.tail:
                detail = f"{self.tail} bytes before the next segment"
                damages.append(Damage(DamageKind.CUT, self.segment, self.offset, detail))
            damages += [
                Damage(DamageKind.NO_SEGMENT, index, 0, self.boot.segment(index).name)
                for index in range(self.segment, min(following, self.segment + _MOST_MISSING))
                if not self.boot.segment(index).exists()
            ]
            # Before anything is yielded: the caller may stop there, and a later call goes on behind it.
            self.segment, self.offset, self.tail = following, 0, 0
            yield from damages

    def read_segment(self) -> Iterator[StoredFrame | Damage]:
        """Yield what was added to the present segment only. Raises `OSError`."""
        return self._rest()

    def _rest(self) -> Iterator[StoredFrame | Damage]:
        """Yield the frames of the present segment behind `offset`."""
        path = self.boot.segment(self.segment)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(status.st_mode):
            # A link, a folder or a pipe. The offset records that this damage was returned.
            if self.offset == 0:
                self.offset = 1
                yield Damage(DamageKind.NO_FILE, self.segment, 0, path.name)
            return
        size = status.st_size
        if size < self.offset:
            gone, self.offset = self.offset - size, size
            yield Damage(DamageKind.SHORTER, self.segment, size, f"{gone} bytes are gone")
        if size == self.offset + self.tail:
            return
        self.tail = 0
        data, left = b"", size - self.offset
        broken: tuple[int, str] | None = None
        with record_files.reading(path) as file:
            file.seek(self.offset)
            # Not behind `size`: a writer that is as fast as this reader would never let it end.
            while left > 0 and (piece := file.read(min(_PIECE, left))):
                left -= len(piece)
                data += piece
                used = 0
                while True:
                    try:
                        frame = read(data, used)
                    except FrameError as error:
                        broken = broken or (self.offset, str(error))
                        after = _resumption(data, used + 1)
                        self.offset += after - used
                        used = after
                        continue
                    if frame is None:
                        break
                    # The caller may stop at each `yield`: the offset is behind what it has by then.
                    if broken is not None:
                        yield self._no_frame(*broken)
                        broken = None
                    found = StoredFrame(frame, self.segment, self.offset)
                    self.offset += frame.size
                    used += frame.size
                    yield found
                data = data[used:]
        self.tail = len(data)
        if broken is not None:
            yield self._no_frame(*broken)

    def _no_frame(self, begin: int, why: str) -> Damage:
        """The damage from `begin` to the present offset."""
        return Damage(DamageKind.NO_FRAME, self.segment, begin, f"{self.offset - begin} bytes: {why}")


def frames(boot: Boot, *, after: int = 0) -> Iterator[StoredFrame | Damage]:
    """Yield the frames of a boot whose number is above `after`, and every damage. Raises `OSError`."""
    for found in BootReader(boot).read():
        if isinstance(found, Damage) or found.frame.number > after:
            yield found


def opening_of(frame: Frame) -> dict[str, Any]:
    """Return what an opening frame says of its segment; empty if it says nothing that can be read."""
    try:
        content = json.loads(frame.lines()[0]) if frame.kind is FrameKind.OPENING else {}
    except (ValueError, LookupError, RecursionError):
        content = {}
    return content if isinstance(content, dict) else {}


def node_of(opening: Mapping[str, Any]) -> str:
    """Return the node that an opening names; `NO_NODE` for a name that no writer has.

    A forged one could be read as other columns or lines, where the name of an event is written.
    """
    node = opening.get("node")
    return node if isinstance(node, str) and NODE.match(node) else NO_NODE


def _resumption(data: bytes, start: int) -> int:
    """The place from `start` where a frame begins again, or may begin with bytes that come later."""
    while (place := data.find(MARKER, start)) >= 0:
        try:
            read(data, place)
        except FrameError:
            start = place + 1
        else:
            return place
    for length in range(len(MARKER) - 1, 0, -1):
        if data.endswith(MARKER[:length]) and len(data) - length >= start:
            return len(data) - length
    return len(data)


def _folders(path: Path) -> list[Path]:
    return [entry for entry in _entries(path) if entry.is_dir() and not entry.is_symlink()]


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
