"""The monitor of other nodes: keeps their newest checkpoints, and finds trees that were rolled back or forked.

A checkpoint is kept only if its tree begins with the tree of the checkpoint before it. So a person who takes over
a node, with its key, can make another history of its events, and not one that fits to what is kept here.

<node>-<key id>/checkpoint      the newest checkpoint that was taken
<node>-<key id>/latest          the one with the latest time, if the clock of the node went back afterwards
<node>-<key id>/2026-11-30.txt  older ones, one for each minute of our clock
<node>-<key id>/conflicts.txt   checkpoints that contradict these, as evidence: both are signed by the node

To accept a node's tree again after a restore that was meant, remove its folder.
"""

from __future__ import annotations

import io
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.consistency import open_consistency
from oauth_core.audit_log.signed_notes import LONGEST_NOTE, NoteError, split_note
from oauth_core.process import private_files
from portcullis.audit.sealed_folder import append_note, notes_in, read_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.signed_notes import VerifierKey

LONGEST_MESSAGE = LONGEST_NOTE + 64 * 1024
"""Bytes of a message: a checkpoint and a statement."""
_MOST_OF_A_FILE = 4 * 1024 * 1024
"""Bytes of the older checkpoints of a node in one day, and of the evidence: a node chooses how large they are.

More evidence adds nothing to the first. An older checkpoint proves less than the newest one, which is always kept.
"""
_AHEAD_SECONDS = 3600.0
_NODE = re.compile(r"[a-z0-9_.-]{1,64}")


def folder_beside(audit_dir: Path) -> Path:
    """The folder of a monitor, unless the settings name another one."""
    return audit_dir.with_name("audit_monitor")


def folder_of(key: VerifierKey) -> str:
    """The name of the folder of a node: two keys can have the same one only if a person searched for that."""
    return f"{_node_name(key).lstrip('.') or 'node'}-{key.key_id.hex()}"


def _node_name(key: VerifierKey) -> str:
    found = _NODE.match(key.name)
    return found[0] if found else "node"


def lock_of(folder: Path) -> Path:
    """The lock of a monitor: one program uses its folder."""
    return folder / "lock"


class Contradiction(Enum):
    """The ways in which a signed checkpoint contradicts the one that is kept."""

    ROLLED_BACK = "it was rolled back"
    """A newer checkpoint has a smaller tree."""
    FORKED = "it has another history"
    """A tree of the same size has another root, or a larger one does not begin with the one that is kept."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """A contradiction in the record of one node."""

    node: str
    key: str
    """The name and the id of the node's key."""
    kind: Contradiction
    kept: int
    """Entries of the tree that is kept."""
    got: int

    def __str__(self) -> str:
        return (
            f"the record of {self.node}: {self.kind.value}: a checkpoint of {self.got} entries contradicts the "
            f"kept one of {self.kept} entries"
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a message: the status of HTTP, as `tlog-witness` of C2SP has it, and a line of text."""

    status: HTTPStatus
    text: str = ""
    kept: str = ""
    """The signed checkpoint that is kept, where the one in the message does not continue it."""


@dataclass(slots=True)
class NodeCounts:
    """The figures of one node since the start. `time` is when its newest checkpoint was taken, by our clock."""

    taken: int = 0
    conflicts: int = 0
    size: int = 0
    time: float = 0.0


@dataclass(slots=True)
class _Node:
    name: str
    key: VerifierKey
    folder: Path
    minute: str = ""
    counts: NodeCounts = field(default_factory=NodeCounts)


class Monitor:
    """Keeps the checkpoints of the nodes whose `keys` are known, below `folder`. One thread uses it."""

    def __init__(
        self,
        folder: Path,
        keys: Sequence[VerifierKey],
        on_conflict: Callable[[Conflict], None],
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read what is kept. Raises `OSError`, and `NoteError` for a kept checkpoint that cannot be used."""
        self._folder = folder
        self._on_conflict = on_conflict
        self._now = now
        self.refused = 0
        """Messages of unknown keys, without a right signature or in another form."""
        self._nodes: dict[tuple[str, bytes], _Node] = {}
        for key in keys:
            node = _Node(_node_name(key), key, folder / folder_of(key))
            self._nodes[key.name, key.key_id] = node
            self._kept(node)

    @property
    def counts(self) -> dict[str, NodeCounts]:
        """The figures of each node, by its name and the id of its key."""
        return {node.folder.name: node.counts for node in self._nodes.values()}

    def take(self, message: bytes) -> Reply:
        """Take the message of a node: a statement of consistency, and the checkpoint that it leads to.

        Raises `OSError` if something cannot be read or written: then nothing was taken.
        """
        notes = list(notes_in(io.BytesIO(message)))
        if len(notes) != 2:  # noqa: PLR2004
            return self._refuse(HTTPStatus.BAD_REQUEST, "a message has a statement and a checkpoint")
        try:
            node = self._node_of(notes[1])
            if node is None:
                return self._refuse(HTTPStatus.NOT_FOUND, "the key of this checkpoint is not known here")
            checkpoint = open_checkpoint(notes[1], node.key)
            _moment(checkpoint)
            statement = open_consistency(notes[0], node.key)
        except NoteError as error:
            return self._refuse(HTTPStatus.FORBIDDEN, str(error))
        if _moment(checkpoint).timestamp() > self._now() + _AHEAD_SECONDS:
            # Otherwise a checkpoint of another century would make all later ones older than it.
            return self._refuse(HTTPStatus.BAD_REQUEST, "the time of the checkpoint is ahead")
        kept = self._kept(node)
        if kept is None:
            return self._keep(node, notes[1], checkpoint)
        if checkpoint.size < kept.size:
            # An older checkpoint can be sent again by others. Only the key signs one that is newer.
            is_newer = _moment(checkpoint) > max(_moment(kept), self._latest(node))
            kind = Contradiction.ROLLED_BACK if is_newer else None
            return self._disagree(node, notes[1], kept, checkpoint, kind)
        if checkpoint.size == kept.size:
            if checkpoint.root != kept.root:
                return self._disagree(node, notes[1], kept, checkpoint, Contradiction.FORKED)
            if _moment(checkpoint) <= _moment(kept):
                return Reply(HTTPStatus.OK)
            return self._keep(node, notes[1], checkpoint)
        if not statement.is_about(kept.size, checkpoint):
            return self._disagree(node, notes[1], kept, checkpoint, None)
        if not statement.proves(kept):
            disagreement = self._disagree(node, notes[1], kept, checkpoint, Contradiction.FORKED)
            return replace(disagreement, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        if _moment(checkpoint) < _moment(kept):
            self._remember(node, kept)
        return self._keep(node, notes[1], checkpoint)

    def _node_of(self, note: str) -> _Node | None:
        """The node of a key that has a signature in this note. The signature is not verified here."""
        for name, key_id, _ in split_note(note)[1]:
            if (node := self._nodes.get((name, key_id))) is not None:
                return node
        return None

    def _kept(self, node: _Node) -> Checkpoint | None:
        """The newest checkpoint of a node. Raises `OSError`, and `NoteError` if it was altered."""
        try:
            found = open_checkpoint(read_note(node.folder / "checkpoint"), node.key)
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            raise NoteError(f"{node.folder / 'checkpoint'} is no text") from None
        if not node.counts.time:
            node.counts.time = (node.folder / "checkpoint").stat().st_mtime
        node.counts.size = found.size
        return found

    def _latest(self, node: _Node) -> datetime:
        """The latest time that a checkpoint had before the clock of the node went back. Raises `OSError`.

        Without it, a checkpoint of before that moment would be newer than the kept one, and look like a rollback
        when others send it again.
        """
        with suppress(FileNotFoundError, ValueError):
            return _moment(open_checkpoint(read_note(node.folder / "latest"), node.key))
        return datetime.min.replace(tzinfo=UTC)

    def _remember(self, node: _Node, kept: Checkpoint) -> None:
        """Remember the time of the kept checkpoint: the next one has an earlier time. Raises `OSError`."""
        if _moment(kept) > self._latest(node):
            private_files.write(node.folder / "latest", read_note(node.folder / "checkpoint"))

    def _keep(self, node: _Node, note: str, checkpoint: Checkpoint) -> Reply:
        """Keep a checkpoint, flushed to the disk. Raises `OSError`."""
        node.folder.mkdir(mode=0o700, exist_ok=True)
        # By our clock: a node could sign a checkpoint of each minute of a century, and so fill the disk.
        minute = datetime.fromtimestamp(self._now(), UTC).isoformat()[:16]
        if minute != node.minute:
            _append(node.folder, minute[:10], note)
            node.minute = minute
        private_files.write(node.folder / "checkpoint", note)
        private_files.sync_folder(node.folder)
        node.counts.taken += 1
        node.counts.size, node.counts.time = checkpoint.size, self._now()
        return Reply(HTTPStatus.OK)

    def _disagree(
        self, node: _Node, note: str, kept: Checkpoint, got: Checkpoint, kind: Contradiction | None
    ) -> Reply:
        """Answer with the kept checkpoint. With a `kind` it is a conflict: keep evidence, and report."""
        if kind is not None:
            node.counts.conflicts += 1
            with suppress(OSError):  # the report matters more
                _append(node.folder, "conflicts", note)
            name = f"{node.key.name}+{node.key.key_id.hex()}"
            self._on_conflict(Conflict(node.name, name, kind, kept.size, got.size))
        return Reply(HTTPStatus.CONFLICT, str(kept.size), read_note(node.folder / "checkpoint"))

    def _refuse(self, status: HTTPStatus, why: str) -> Reply:
        self.refused += 1
        return Reply(status, why)


def _append(folder: Path, name: str, note: str) -> None:
    """Append a note to `name`.txt, unless that is large. Raises `OSError`."""
    path = folder / f"{name}.txt"
    if not path.exists() or path.stat().st_size < _MOST_OF_A_FILE:
        append_note(folder, name, note)


def _moment(checkpoint: Checkpoint) -> datetime:
    """The time in a checkpoint. Raises `NoteError`, such as for the 31st of February."""
    try:
        return datetime.fromisoformat(checkpoint.time)
    except ValueError:
        raise NoteError("the time of the checkpoint is none") from None
