"""Records: what a sink gets. Events, entries of the sealed tree, frames and checkpoints, each with its place.

The last event of a frame carries the entry of its frame. An entry without events has a record of its own: that of
an opening or a closing frame, of a fault, and of a frame that cannot be read any more. So a sink that has all
records can compute the root of the tree, and compare it with the signed checkpoints.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

FORMAT = 1
"""The version of the form, the member `v` of a record as JSON."""
FRAME_PART = 192 * 1024
"""Bytes of a frame in one record: a message of NATS has a megabyte at most, unless its server says otherwise."""


class RecordKind(StrEnum):
    """The kinds of records."""

    EVENT = "event"
    ENTRY = "entry"
    FRAME = "frame"
    CHECKPOINT = "checkpoint"


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `text` is the event's line, the entry, a part of a frame in base64, or the note of a checkpoint.

    `tree` names the sealed tree, by the name and the id of its key. `index` is the place of the entry in it. A
    checkpoint has the size of its tree in `index`, and its time in `time`.
    """

    kind: RecordKind
    tree: str
    text: str
    node: str = ""
    writer: str = ""
    boot: str = ""
    sequence: int = 0
    index: int | None = None
    entry: str | None = None
    """The entry of the frame, with the last event of the frame."""
    part: int = 1
    parts: int = 1
    time: str = ""

    @property
    def id(self) -> str:
        """The name of the record, the same each time that it is sent. A sink can leave out one that it has."""
        if self.kind is RecordKind.EVENT:
            return f"{self.node}/{self.writer}/{self.boot}/{self.sequence}"
        name = f"{self.tree}/{self.kind}/{self.index}"
        if self.kind is RecordKind.FRAME:
            return f"{name}/{self.part}"
        return f"{name}/{self.time}" if self.kind is RecordKind.CHECKPOINT else name

    @property
    def size(self) -> int:
        """About how many bytes it takes."""
        return len(self.text) + len(self.entry or "") + _BESIDE

    def document(self) -> dict[str, Any]:
        """Return the record as an object of JSON."""
        found: dict[str, Any] = {"v": FORMAT, "kind": self.kind.value, "id": self.id, "tree": self.tree}
        if self.kind is RecordKind.EVENT:
            place = {"node": self.node, "writer": self.writer, "boot": self.boot, "sequence": self.sequence}
            last = {} if self.entry is None else {"index": self.index, "entry": self.entry}
            return found | place | {"line": self.text} | last
        if self.kind is RecordKind.ENTRY:
            return found | {"index": self.index, "entry": self.text}
        if self.kind is RecordKind.FRAME:
            return found | {"index": self.index, "part": self.part, "parts": self.parts, "data": self.text}
        return found | {"size": self.index, "note": self.text}

    def encode(self) -> bytes:
        """Return the record as one line of JSON in ASCII, without a line break."""
        return json.dumps(self.document(), separators=(",", ":")).encode("ascii")


_BESIDE = 300


def line_text(line: bytes) -> str:
    """The text of an event's line. Bytes that are no UTF-8, which no program writes, are replaced."""
    return line.decode("utf-8", "replace")
