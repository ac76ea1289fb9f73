"""The entries of the sealed tree: one for each frame, and one for each place where no frame fits.

An entry is one line of text without a line break. That of a frame is::

    portcullis-frame/1 <node> <writer> <boot> <number> <kind> <first> <count> <SHA-256 of the frame, hexadecimal>

That of a fault is the following; a fault stays in the tree, so that a repair of the folder cannot hide it::

    portcullis-fault/1 <node> <writer> <boot> <segment> <offset> <reason>
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from oauth_core.audit_log.frames import FrameKind
from oauth_core.audit_log.merkle import HASH_BYTES

if TYPE_CHECKING:
    from oauth_core.audit_log.frames import Frame

NO_NODE = "-"
"""The node of a boot whose opening frame cannot be read."""
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,252}\Z")

_FRAME = "portcullis-frame/1"
_FAULT = "portcullis-fault/1"
_FRAME_WORDS = 9
_FAULT_WORDS = 7


class EntryError(ValueError):
    """The bytes are no entry."""


class FaultReason(Enum):
    """The reasons of a sealed fault."""

    NO_FRAME = "no-frame"
    CUT = "cut"
    SHORTER = "shorter"
    NO_SEGMENT = "no-segment"
    CHAIN = "chain"
    MISPLACED = "misplaced"
    """The opening frame names another writer, boot or segment than the place where it is."""


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """The entry of one frame."""

    node: str
    writer: str
    boot: str
    number: int
    kind: FrameKind
    first: int
    count: int
    digest: bytes

    def encode(self) -> bytes:
        """Return the entry as it is in the tree."""
        words = (self.node, self.writer, self.boot, self.number, self.kind.value.decode("ascii"), self.first)
        return " ".join(map(str, (_FRAME, *words, self.count, self.digest.hex()))).encode()


@dataclass(frozen=True, slots=True)
class FaultEntry:
    """The entry of a place of a boot where the sealer found no frame that fits."""

    node: str
    writer: str
    boot: str
    segment: int
    offset: int
    reason: FaultReason

    def encode(self) -> bytes:
        """Return the entry as it is in the tree."""
        words = (_FAULT, self.node, self.writer, self.boot, self.segment, self.offset, self.reason.value)
        return " ".join(map(str, words)).encode()


Entry = FrameEntry | FaultEntry


def entry_of(frame: Frame, *, node: str, writer: str, boot: str) -> FrameEntry:
    """Return the entry of a frame of this boot."""
    return FrameEntry(node, writer, boot, frame.number, frame.kind, frame.first, frame.count, frame.digest)


def parse_entry(data: bytes) -> Entry:
    """Return the entry that has this one form. Raises `EntryError`."""
    try:
        words = data.decode("ascii").split(" ")
        entry = _parsed(words)
    except (ValueError, IndexError):
        raise EntryError("no entry of the sealed tree") from None
    # One form only: otherwise two texts would be the same entry.
    if entry.encode() != data:
        raise EntryError("an entry in another form")
    return entry


def _parsed(words: list[str]) -> Entry:
    if words[0] == _FRAME and len(words) == _FRAME_WORDS:
        digest = bytes.fromhex(words[8])
        if len(digest) != HASH_BYTES:
            raise ValueError(words[8])
        kind = FrameKind(words[5].encode())
        return FrameEntry(words[1], words[2], words[3], int(words[4]), kind, int(words[6]), int(words[7]), digest)
    if words[0] == _FAULT and len(words) == _FAULT_WORDS:
        return FaultEntry(words[1], words[2], words[3], int(words[4]), int(words[5]), FaultReason(words[6]))
    raise ValueError(words[0])
