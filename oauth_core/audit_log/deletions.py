"""Deletions: the signed text that names the segments which retention removes from the record.

Only the sealer's key signs it, so that a person who can write to the folder cannot pass off a theft as retention::

    portcullis-deletion/1 <name of the key>
    time <RFC 3339>
    operator <the account>
    reason <words of the operator>
    segment <writer> <boot> <segment> <first frame> <frames> <events> <first entry> <last entry> <SHA-256>

The last line is there once for each segment. An entry is a place in the sealed tree. The SHA-256 is that of the
digests of all frames of the segment, one after the other: so it names exactly the frames that were sealed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.audit_log.merkle import HASH_BYTES
from oauth_core.audit_log.signed_notes import NoteError

if TYPE_CHECKING:
    from oauth_core.audit_log.signed_notes import Signer, VerifierKey

MOST_SEGMENTS = 2000
"""Segments of one deletion: this number of lines is shorter than the longest note."""
MOST_WORDS = 500
"""Characters of a reason and of an operator."""

_FORM = "portcullis-deletion/1"
_LINES = 4
_WORDS = 10
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


@dataclass(frozen=True, slots=True)
class DeletedSegment:
    """One segment as the sealed tree has it."""

    writer: str
    boot: str
    segment: int
    number: int
    """The number of its first frame."""
    frames: int
    events: int
    first: int
    """The place of its first frame in the tree."""
    last: int
    digest: bytes

    @property
    def key(self) -> str:
        """The name of its boot among all boots."""
        return f"{self.writer}/{self.boot}"

    def line(self) -> str:
        """Return the line of the deletion."""
        numbers = (self.segment, self.number, self.frames, self.events, self.first, self.last)
        return " ".join(("segment", self.writer, self.boot, *map(str, numbers), self.digest.hex()))


@dataclass(frozen=True, slots=True)
class Deletion:
    """The content of one note."""

    origin: str
    time: str
    operator: str
    reason: str
    segments: tuple[DeletedSegment, ...]

    def text(self) -> str:
        """Return the text that is signed."""
        lines = [
            f"{_FORM} {self.origin}",
            f"time {self.time}",
            f"operator {self.operator}",
            f"reason {self.reason}",
        ]
        return "".join(f"{line}\n" for line in (*lines, *(segment.line() for segment in self.segments)))

    def sign(self, signer: Signer) -> str:
        """Return the signed note. Raises `NoteError` if its text would not be read as this deletion."""
        text = self.text()
        if parse_deletion(text) != self:
            raise NoteError("the text of the deletion would be read as another one")
        return signer.sign(text)


def words(text: str) -> str:
    """Return `text` as an operator or a reason can be: one line, and not too long."""
    return _UNPRINTABLE.sub(" ", text)[:MOST_WORDS].strip()


def open_deletion(note: str, key: VerifierKey) -> Deletion:
    """Return the deletion of a note that `key` has signed.

    Raises `NoteError` if the signature does not verify, if the text is no deletion, and if it names another key.
    """
    deletion = parse_deletion(key.open(note))
    if deletion.origin != key.name:
        raise NoteError(f"the deletion is of {deletion.origin}, and the key of {key.name}")
    return deletion


def parse_deletion(text: str) -> Deletion:
    """Return the deletion that has this one text. Raises `NoteError`."""
    lines = text.split("\n")[:-1]
    if len(lines) <= _LINES:
        raise NoteError("a deletion has four lines and then a line for each segment")
    values = []
    for line, name in zip(lines, (_FORM, "time", "operator", "reason"), strict=False):
        word, _, rest = line.partition(" ")
        if word != name:
            raise NoteError(f"no deletion: a line does not begin with {name}")
        values.append(rest)
    origin, time, operator, reason = values
    deletion = Deletion(origin, time, operator, reason, tuple(map(_segment, lines[_LINES:])))
    # One form only: otherwise two texts would be the same deletion.
    if deletion.text() != text:
        raise NoteError("a deletion in another form")
    return deletion


def _segment(line: str) -> DeletedSegment:
    parts = line.split(" ")
    try:
        if len(parts) != _WORDS:
            raise ValueError(line)
        writer, boot, *numbers, digest = parts[1:]
        segment, number, frames, events, first, last = map(int, numbers)
        found = DeletedSegment(writer, boot, segment, number, frames, events, first, last, bytes.fromhex(digest))
    except ValueError:
        raise NoteError(f"a line of the deletion is not in its form: {line[:100]}") from None
    if len(found.digest) != HASH_BYTES or min(segment, number, frames) < 1 or min(events, first, last) < 0:
        raise NoteError(f"a line of the deletion has an impossible number: {line[:100]}")
    return found
