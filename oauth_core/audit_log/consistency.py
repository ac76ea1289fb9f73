"""Consistency statements: the signed proof that the tree of one checkpoint begins with the tree of an older one.

A sealer gives them to the monitor of another node, with the newer checkpoint::

    portcullis-consistency/1
    <name of the key>
    <size of the old tree>
    <size of the new tree>
    <root of the new tree, base64>
    <hash of the proof, base64>

The last line is there once for each hash (RFC 6962 section 2.1.2). The signature matters when a proof is wrong:
only the holder of the key can cause that, so it shows a fork and not an attack by others.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.audit_log import merkle
from oauth_core.audit_log.merkle import HASH_BYTES
from oauth_core.audit_log.signed_notes import NoteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.signed_notes import Signer, VerifierKey

_FORM = "portcullis-consistency/1"
_LINES = 5
_MOST_HASHES = 128
"""A tree of 2**64 entries needs fewer."""
_SIZE = re.compile(r"(?:0|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True)
class Consistency:
    """One statement: `old` and `new` are sizes of trees, and `root` is that of the new tree."""

    origin: str
    old: int
    new: int
    root: bytes
    path: Sequence[bytes]

    def sign(self, signer: Signer) -> str:
        """Return the signed note."""
        hashes = (_encoded(each) for each in (self.root, *self.path))
        lines = (_FORM, self.origin, str(self.old), str(self.new), *hashes)
        return signer.sign("".join(f"{line}\n" for line in lines))

    def is_about(self, old: int, checkpoint: Checkpoint) -> bool:
        """Return whether it leads from a tree of `old` entries to the tree of `checkpoint`."""
        return (self.old, self.new, self.root) == (old, checkpoint.size, checkpoint.root)

    def proves(self, old: Checkpoint) -> bool:
        """Return whether the new tree begins with the tree of the checkpoint `old`."""
        return old.size == self.old and merkle.is_consistent(old.size, old.root, self.new, self.root, self.path)


def open_consistency(note: str, key: VerifierKey) -> Consistency:
    """Return the statement of a note that `key` has signed. Raises `NoteError`."""
    form, *lines = key.open(note).splitlines()
    if form != _FORM or not _LINES <= 1 + len(lines) <= _LINES + _MOST_HASHES:
        raise NoteError("the note is no statement of consistency")
    origin, old, new, root, *path = lines
    if origin != key.name:
        raise NoteError(f"the statement is of {origin}, and the key of {key.name}")
    if not (_SIZE.match(old) and _SIZE.match(new)):
        raise NoteError("a size in the statement is no number")
    return Consistency(origin, int(old), int(new), _decoded(root), tuple(map(_decoded, path)))


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != HASH_BYTES:
        raise NoteError("a hash of the statement is not the base64 of 32 bytes")
    return data
