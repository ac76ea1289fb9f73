"""Proofs that one event was recorded, for a person who has a checkpoint and nothing of the audit folder.

A proof is a file in the form of C2SP tlog-proof: the index of an entry, its inclusion proof and a signed
checkpoint. Its extra data are the place of the event, and the whole frame of which the entry is made::

    portcullis-event/1 <node> <writer> <boot> <sequence number>
    <the bytes of the frame>
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.audit_log import frames, merkle
from oauth_core.audit_log.checkpoints import parse_checkpoint
from oauth_core.audit_log.entries import NODE, FrameEntry, entry_of
from oauth_core.audit_log.frames import FrameError, FrameKind
from oauth_core.audit_log.signed_notes import NoteError, split_note
from portcullis.audit.segments import BOOT_NAME, WRITER_NAME, StoredFrame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.audit_log.checkpoints import Checkpoint
    from portcullis.audit.segments import Damage

_FIRST = "c2sp.org/tlog-proof@v1"
_EVENT = "portcullis-event/1"
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")
_LONGEST = 64 * 1024 * 1024


class ProofError(ValueError):
    """The file is no proof, or it proves nothing. The message says why."""


@dataclass(frozen=True, slots=True)
class EventName:
    """The name of one event: `node/writer/boot/sequence`."""

    node: str
    writer: str
    boot: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.node}/{self.writer}/{self.boot}/{self.sequence}"

    @classmethod
    def parse(cls, text: str, separator: str = "/") -> EventName:
        """Read a name. Raises `ProofError`."""
        match text.split(separator):
            case [node, writer, boot, sequence] if (
                NODE.match(node) and WRITER_NAME.match(writer) and BOOT_NAME.match(boot)
            ):
                pass
            case _:
                raise ProofError(f"{text[:200]!r} is no name of an event: it is node/writer/boot/sequence")
        if not _NUMBER.match(sequence) or sequence == "0":
            raise ProofError(f"{sequence[:40]!r} is no sequence number")
        return cls(node, writer, boot, int(sequence))


@dataclass(frozen=True, slots=True)
class Proof:
    """An event, its frame, the place of the frame's entry in the tree, and the checkpoint that proves it."""

    name: EventName
    frame: bytes
    index: int
    path: tuple[bytes, ...]
    note: str

    def encode(self) -> str:
        """Return the file."""
        place = f"{_EVENT} {self.name.node} {self.name.writer} {self.name.boot} {self.name.sequence}\n"
        extra = base64.b64encode(place.encode() + self.frame).decode("ascii")
        lines = [_FIRST, f"extra {extra}", f"index {self.index}"]
        lines += [base64.b64encode(node).decode("ascii") for node in self.path]
        return "".join(f"{line}\n" for line in lines) + f"\n{self.note}"

    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint of the proof, without its signature being verified. Raises `ProofError`."""
        try:
            return parse_checkpoint(split_note(self.note)[0])
        except NoteError as error:
            raise ProofError(str(error)) from None

    def event(self, trusted: Checkpoint) -> bytes:
        """Return the line of the event if `trusted` proves it. Raises `ProofError`."""
        checkpoint = self.checkpoint()
        if checkpoint.size != trusted.size:
            raise ProofError(
                f"the proof is for a tree of {checkpoint.size} entries, and the checkpoint has {trusted.size}: "
                "make the proof with `portcullis audit verify --event NAME --checkpoint FILE`"
            )
        try:
            frame = frames.read(self.frame)
            if frame is None or frame.size != len(self.frame) or frame.kind is not FrameKind.EVENTS:
                raise ProofError("the extra data are not one frame of events")
            lines = frame.lines()
        except FrameError as error:
            raise ProofError(str(error)) from None
        name = self.name
        if not frame.first <= name.sequence < frame.following:
            raise ProofError(f"the frame does not have event {name.sequence}")
        entry = entry_of(frame, node=name.node, writer=name.writer, boot=name.boot)
        leaf = merkle.leaf_hash(entry.encode())
        if merkle.root_by_inclusion(self.index, trusted.size, leaf, self.path) != trusted.root:
            raise ProofError("the frame is not in the tree of the checkpoint: it was altered, or never sealed")
        return lines[name.sequence - frame.first]


def parse_proof(text: str) -> Proof:
    """Read a proof; it proves nothing yet. Raises `ProofError`."""
    head, empty, note = text.partition("\n\n")
    lines = head.split("\n")
    if len(text) > _LONGEST or not empty or lines[0] != _FIRST or len(lines) < 3:  # noqa: PLR2004
        raise ProofError(f"no proof: it begins with {_FIRST}, and has an event, an index and a checkpoint")
    word, _, encoded = lines[1].partition(" ")
    place, _, frame = _decoded(encoded).partition(b"\n")
    if word != "extra" or not frame:
        raise ProofError("the proof has no event")
    kind, _, named = place.decode("ascii", "replace").partition(" ")
    if kind != _EVENT:
        raise ProofError(f"the extra data of the proof do not begin with {_EVENT}")
    word, _, index = lines[2].partition(" ")
    if word != "index" or not _NUMBER.match(index):
        raise ProofError("the proof has no index")
    path = tuple(map(_decoded, lines[3:]))
    if any(len(node) != merkle.HASH_BYTES for node in path):
        raise ProofError("a hash of the proof does not have 32 bytes")
    return Proof(EventName.parse(named, " "), frame, int(index), path, note)


def has_event(entry: FrameEntry, name: EventName) -> bool:
    """Whether the frame of an entry has the event."""
    place = (entry.node, entry.writer, entry.boot)
    is_there = entry.first <= name.sequence < entry.first + entry.count
    return place == (name.node, name.writer, name.boot) and entry.kind is FrameKind.EVENTS and is_there


def stored_frame(found: Iterable[StoredFrame | Damage], digest: bytes) -> StoredFrame | None:
    """The frame with this digest among the frames and damages of a boot."""
    return next((each for each in found if isinstance(each, StoredFrame) and each.frame.digest == digest), None)


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofError("a part of the proof is not in base64") from None
    if base64.b64encode(data).decode("ascii") != text:
        raise ProofError("a part of the proof is not in base64")
    return data
