"""Checkpoints: the size and the root of the sealed tree at one time, as C2SP tlog-checkpoint defines their text.

After origin, size and root come lines of ours::

    writer <writer> <boot> <last sequence number> <open|closed|silent>
    behind
    time <RFC 3339>

`behind` is there when frames were waiting that the tree does not have yet.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from oauth_core.audit_log.merkle import HASH_BYTES
from oauth_core.audit_log.signed_notes import NoteError

if TYPE_CHECKING:
    from oauth_core.audit_log.signed_notes import Signer, VerifierKey

_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?Z\Z")
_LINES = 3
_WRITER_WORDS = 5


class BootState(Enum):
    """The state of a boot in a checkpoint."""

    OPEN = "open"
    CLOSED = "closed"
    SILENT = "silent"
    """It has written nothing for a long time, without a closing frame. Later checkpoints do not name it."""


@dataclass(frozen=True, slots=True)
class SealedBoot:
    """A boot in a checkpoint: the sequence number of its last sealed event, or 0."""

    writer: str
    boot: str
    last: int
    state: BootState

    def line(self) -> str:
        """Return the line of the checkpoint."""
        return f"writer {self.writer} {self.boot} {self.last} {self.state.value}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a checkpoint. `time` is its RFC 3339 text, or empty if the note has none."""

    origin: str
    size: int
    root: bytes
    time: str = ""
    boots: tuple[SealedBoot, ...] = ()
    behind: bool = False

    def text(self) -> str:
        """Return the text that is signed."""
        lines = [self.origin, str(self.size), base64.b64encode(self.root).decode("ascii")]
        lines += [boot.line() for boot in self.boots]
        lines += ["behind"] if self.behind else []
        lines += [f"time {self.time}"] if self.time else []
        return "".join(f"{line}\n" for line in lines)

    def sign(self, signer: Signer) -> str:
        """Return the signed note. Raises `NoteError` if its text would not be read as this checkpoint."""
        text = self.text()
        # A tree whose newest checkpoint cannot be read could not be continued.
        if parse_checkpoint(text) != self:
            raise NoteError("the text of the checkpoint would be read as another one")
        return signer.sign(text)


def open_checkpoint(note: str, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint of a note that `key` has signed.

    Raises `NoteError` if the signature does not verify, if the text is no checkpoint, and if its origin is not the
    name of the key.
    """
    checkpoint = parse_checkpoint(key.open(note))
    if checkpoint.origin != key.name:
        raise NoteError(f"the checkpoint is of {checkpoint.origin}, and the key of {key.name}")
    return checkpoint


def parse_checkpoint(text: str) -> Checkpoint:
    """Return the checkpoint that `text` has. Extension lines of other kinds are left out. Raises `NoteError`."""
    lines = text.split("\n")[:-1]
    if len(lines) < _LINES or not text.endswith("\n") or not all(lines):
        raise NoteError("a checkpoint has three lines or more, and none is empty")
    origin, size, root, *extensions = lines
    if not _SIZE.match(size):
        raise NoteError("the size of a checkpoint is a decimal number without leading zeros")
    time, boots, behind = "", [], False
    for line in extensions:
        word, _, rest = line.partition(" ")
        if word == "time" and _TIME.match(rest):
            time = rest
        elif word == "writer":
            boots.append(_boot(line))
        elif line == "behind":
            behind = True
    return Checkpoint(origin, int(size), _root(root), time, tuple(boots), behind)


def _root(text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        root = b""
    if len(root) != HASH_BYTES or base64.b64encode(root).decode("ascii") != text:
        raise NoteError("the root of a checkpoint is the base64 of 32 bytes")
    return root


def _boot(line: str) -> SealedBoot:
    words = line.split(" ")
    try:
        if len(words) != _WRITER_WORDS or not _SIZE.match(words[3]):
            raise ValueError(line)
        return SealedBoot(words[1], words[2], int(words[3]), BootState(words[4]))
    except ValueError:
        raise NoteError(f"a line of the checkpoint is not in its form: {line[:100]}") from None
