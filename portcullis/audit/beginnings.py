"""The beginning of a part of the sealed tree: a signed checkpoint, and the hashes to which entries are added.

With it, the entries behind the checkpoint can be proven without those before it. The hashes are those of the
complete subtrees in the tree of the checkpoint, the largest first. They have its root, so the file needs no trust.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.audit_log import merkle
from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.signed_notes import NoteError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.signed_notes import VerifierKey
    from portcullis.audit.tree import TreeReader

_FORMAT = "portcullis-beginning/1"


class GrowingTree:
    """The root of a tree to which entries are added one by one: the hashes of its complete subtrees."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)

    def add(self, entry: bytes) -> None:
        """Add an entry."""
        found, size = merkle.leaf_hash(entry), self.size
        while size & 1:
            found, size = merkle.node_hash(self.hashes.pop(), found), size >> 1
        self.hashes.append(found)
        self.size += 1

    def root(self) -> bytes:
        """Return the root."""
        if not self.hashes:
            return merkle.EMPTY_ROOT
        found = self.hashes[-1]
        for before in reversed(self.hashes[:-1]):
            found = merkle.node_hash(before, found)
        return found


@dataclass(frozen=True, slots=True)
class Beginning:
    """The note of a checkpoint, and the hashes of its tree."""

    note: str
    checkpoint: Checkpoint
    hashes: tuple[bytes, ...]

    @classmethod
    def of(cls, tree: TreeReader, note: str, checkpoint: Checkpoint) -> Beginning:
        """The beginning of what comes after `checkpoint`, from its tree. Raises `TreeError` and `OSError`."""
        hashes, done = [], 0
        for level in reversed(range(checkpoint.size.bit_length())):
            if checkpoint.size >> level & 1:
                hashes.append(tree.subtree(level, done >> level))
                done += 1 << level
        return cls(note, checkpoint, tuple(hashes))

    @classmethod
    def decode(cls, text: str, key: VerifierKey) -> Beginning:
        """Read the text of a file. Raises `NoteError` unless the key signed it and the hashes have its root."""
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise ValueError(content["format"])
            note, hashes = (
                content["checkpoint"],
                [base64.b64decode(one, validate=True) for one in content["hashes"]],
            )
        except (ValueError, KeyError, TypeError, RecursionError, binascii.Error):
            raise NoteError("it is no file of a beginning") from None
        if not isinstance(note, str):
            raise NoteError("it is no file of a beginning")
        checkpoint = open_checkpoint(note, key)
        is_whole = len(hashes) == checkpoint.size.bit_count()
        if not is_whole or GrowingTree(checkpoint.size, hashes).root() != checkpoint.root:
            raise NoteError("its hashes do not have the root of its checkpoint")
        return cls(note, checkpoint, tuple(hashes))

    def encode(self) -> str:
        """Return the text of the file."""
        hashes = [base64.b64encode(one).decode("ascii") for one in self.hashes]
        return json.dumps({"format": _FORMAT, "checkpoint": self.note, "hashes": hashes}) + "\n"
