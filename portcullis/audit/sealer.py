"""The sealer: makes every frame of an audit folder an entry of the sealed tree, and signs checkpoints of it.

A checkpoint is written after the tiles that it needs, in this order, each flushed to the disk: tiles and bundles;
the copy of the checkpoint beside the key; `sealed/checkpoint`, which is the moment when the tree has its new size;
the places where reading goes on. After a crash between any two of them the sealer goes on from the newest
checkpoint that the tiles support, and seals again what that one does not cover.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from oauth_core.audit_log import merkle
from oauth_core.audit_log.checkpoints import BootState, Checkpoint, SealedBoot, open_checkpoint
from oauth_core.audit_log.entries import EntryError, FaultEntry, parse_entry
from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.process import private_files
from portcullis.audit.deletions import DeletionNotes
from portcullis.audit.followers import Follower
from portcullis.audit.record_files import UnusableFileError
from portcullis.audit.seal_key import KeyFileError
from portcullis.audit.sealed_folder import SealedFolder, append_note, read_note
from portcullis.audit.segments import Boot, BootReader, boots_of, writers
from portcullis.audit.tree import TreeError, TreeReader, TreeWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from oauth_core.audit_log.entries import Entry
    from oauth_core.audit_log.signed_notes import Signer
    from oauth_core.crypto.record_authentication import RecordKey
    from portcullis.audit.seal_key import SealKey

STEP_SECONDS = 1.0
"""Seconds between two looks at the folder."""
QUIET_SECONDS = 60.0
"""Seconds between two checkpoints when nothing is written, and between two looks at finished boots."""
SILENT_SECONDS = 3600.0
"""Seconds without a frame after which checkpoints do not name a boot any more."""

MOST_NAMED = 5000
"""Boots that a checkpoint names: this number of lines is shorter than the longest note."""

_MOST_ENTRIES = 8192
"""Entries of one boot in one step."""
_FRESH_NS = 2_000_000_000
"""A folder that changed so recently may change again within the same tick of its clock."""


class SealerError(Exception):
    """The sealer cannot go on with this tree or this key. The message says what to do."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class Counts:
    """The work of a sealer since its start, and `unsealed_bytes`: what was written and is not in the tree."""

    entries: int = 0
    faults: int = 0
    checkpoints: int = 0
    failures: int = 0
    tree_entries: int = 0
    unsealed_bytes: int = 0


@dataclass(slots=True)
class _Tree:
    """The tree and the boots in memory, from one load to the next failure."""

    signer: Signer
    writer: TreeWriter
    open: dict[str, Follower]
    finished: dict[str, Follower]
    heard: dict[str, float]
    """When each open boot had its last frame, by the monotonic clock."""
    looked: dict[Path, int]
    """The time of change of each writer's folder at the last look."""
    notes: list[Path] = field(default_factory=list)
    """The files of deletions that were read."""
    deleted: set[tuple[str, int]] = field(default_factory=set)
    """The segments in them, by boot and number."""


class Sealer:
    """Seals one audit folder. The caller holds `SealedFolder.held` while it uses the object."""

    def __init__(
        self,
        audit_dir: Path,
        key: SealKey,
        *,
        report: Callable[[str], None],
        publish: Callable[[str], None] = lambda _note: None,
        now: Callable[[], datetime] = _utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`report` gets a sentence about every fault, and `publish` every signed checkpoint."""
        self._audit_dir = audit_dir
        self._folder = SealedFolder(audit_dir)
        self._key = key
        self._report = report
        self._publish = publish
        self._now = now
        self._monotonic = monotonic
        self.counts = Counts()
        self._tree: _Tree | None = None
        self._signed_at: float | None = None
        self._looked_at = 0.0
        self._minute = ""
        self._unreadable: set[str] = set()
        self._is_copy_missing = False

    def step(self) -> bool:
        """Seal what is new; return whether more is waiting.

        Raises `OSError` when something cannot be read or written, and `SealerError` when the tree or the key
        cannot be used. After an error the next step begins with what is on the disk.
        """
        try:
            tree = self._tree = self._tree or self._load()
            # The time of the checkpoint: its tree has every frame that was written before this moment.
            shown = _shown(self._now())
            self._look(tree)
            before, behind = tree.writer.size, False
            for follower in list(tree.open.values()):
                behind |= self._take(tree, follower)
            clock = self._monotonic()
            is_due = self._signed_at is None or clock - self._signed_at >= QUIET_SECONDS
            if tree.writer.size != before or is_due:
                self._seal(tree, shown, behind=behind)
                self._signed_at = clock
            self.counts.tree_entries = tree.writer.size
            self.counts.unsealed_bytes = sum(_unread_bytes(follower) for follower in tree.open.values())
        except BaseException:
            self.counts.failures += 1
            self._tree = None
            raise
        return behind

    def _take(self, tree: _Tree, follower: Follower) -> bool:
        """Append the new entries of one boot; return whether it may have more."""
        count = 0
        try:
            for entry in follower.entries(_MOST_ENTRIES):
                count += 1
                tree.writer.append(entry.encode())
                if isinstance(entry, FaultEntry):
                    self.counts.faults += 1
                    self._report(f"{follower.key}: {_described(entry)}")
        except OSError as error:
            if follower.key not in self._unreadable:
                self._unreadable.add(follower.key)
                self._report(f"{error.filename or follower.key}: {error.strerror}; trying again")
            return False
        self._unreadable.discard(follower.key)
        self.counts.entries += count
        if count:
            tree.heard[follower.key] = self._monotonic()
        return count >= _MOST_ENTRIES

    def _seal(self, tree: _Tree, shown: str, *, behind: bool) -> None:
        """Write what was appended, and a checkpoint of it with the time `shown`."""
        try:
            tree.writer.commit()
        except TreeError as error:
            raise SealerError(_lost(str(error))) from None
        states = {key: self._state(tree, follower) for key, follower in sorted(tree.open.items())}
        named = tuple(
            SealedBoot(
                tree.open[key].boot.writer, tree.open[key].boot.name, tree.open[key].last_event, states[key]
            )
            for key in sorted(_newest_heard(tree))
        )
        origin = tree.signer.verifier.name
        checkpoint = Checkpoint(origin, tree.writer.size, tree.writer.root(), shown, named, behind)
        note = checkpoint.sign(tree.signer)
        self._store(note)
        self.counts.checkpoints += 1
        # Before the files that an attacker with access to the folder can spoil: copies elsewhere prove more.
        self._publish(note)
        if self._folder.days.is_symlink():
            raise UnusableFileError(self._folder.days, "it is a link")
        if (minute := shown[:16]) != self._minute:
            append_note(self._folder.days, shown[:10], note)
            self._minute = minute
        ended = [key for key, state in states.items() if state is not BootState.OPEN]
        for key in ended:
            tree.finished[key] = tree.open.pop(key)
            tree.heard.pop(key, None)
        if ended or self._signed_at is None:
            self._folder.write_finished(_saved(tree.finished), tree.signer.record_key)
        self._folder.write_places(tree.writer.size, _saved(tree.open), tree.signer.record_key)
        tree.writer.tidy()

    def _state(self, tree: _Tree, follower: Follower) -> BootState:
        if follower.chain.closed:
            return BootState.CLOSED
        is_silent = self._monotonic() - tree.heard.setdefault(follower.key, self._monotonic()) >= SILENT_SECONDS
        return BootState.SILENT if is_silent else BootState.OPEN

    def _store(self, note: str) -> None:
        """Write the newest checkpoint, first where a roll-back of the audit folder does not reach."""
        try:
            private_files.write(self._key.checkpoint, note)
        except OSError as error:
            if not self._is_copy_missing:
                self._report(f"{self._key.checkpoint}: {error.strerror}; going on without this copy")
            self._is_copy_missing = True
        else:
            self._is_copy_missing = False
        self._folder.write_checkpoint(note)

    # -- boots -----------------------------------------------------------------------------------------------

    def _look(self, tree: _Tree) -> None:
        """Find new boots, and once a minute those that were finished and have more."""
        clock = self._monotonic()
        is_due = not tree.looked or clock - self._looked_at >= QUIET_SECONDS
        if is_due:
            self._looked_at = clock
        for folder in writers(self._audit_dir):
            try:
                changed = folder.stat().st_mtime_ns
            except OSError:
                continue
            if tree.looked.get(folder) == changed and not is_due:
                continue
            for boot in boots_of(folder):
                if boot.key not in tree.open and boot.key not in tree.finished:
                    tree.open[boot.key] = self._follower(boot)
                    tree.heard[boot.key] = clock
            tree.looked[folder] = changed if time.time_ns() - changed > _FRESH_NS else 0
        if is_due:
            for key in [key for key, follower in tree.finished.items() if _has_more(follower)]:
                tree.open[key] = tree.finished.pop(key)
                tree.heard[key] = clock

    # -- what is on the disk ---------------------------------------------------------------------------------

    def _load(self) -> _Tree:
        """Read key, checkpoint, tree and places."""
        self._signed_at = None
        try:
            signer = self._key.read()
        except KeyFileError as error:
            raise SealerError(str(error)) from None
        if signer is None:
            raise SealerError(self._no_key())
        checkpoint = self._newest(signer)
        if checkpoint is None:
            # Before the first tile: tiles without a checkpoint then mean that it was removed.
            checkpoint = Checkpoint(signer.verifier.name, 0, merkle.EMPTY_ROOT, _shown(self._now()))
            self._store(checkpoint.sign(signer))
        try:
            writer = TreeWriter(self._folder.root, checkpoint.size)
        except TreeError as error:
            raise SealerError(_lost(str(error))) from None
        if writer.root() != checkpoint.root:
            raise SealerError(_lost(f"{self._folder.root / 'tile'} does not have the root of the checkpoint"))
        open_ones, finished = self._followers(checkpoint, signer.record_key)
        return _Tree(signer, writer, open_ones, finished, {}, {})

    def _no_key(self) -> str:
        made = "make one with `portcullis audit key`"
        if not self._folder.checkpoint.exists():
            return f"{self._key.path} does not exist: {made}"
        return (
            f"{self._key.path} does not exist, but {self._folder.root} has a tree that was signed with it: "
            "restore the key from a backup, or begin a new tree with `portcullis audit key --new-tree`"
        )

    def _newest(self, signer: Signer) -> Checkpoint | None:
        """The newest checkpoint that this key has signed: that of the folder, or that beside the key."""
        found: list[Checkpoint] = []
        refused: list[str] = []
        paths = (self._folder.checkpoint, self._key.checkpoint)
        for path in paths:
            try:
                found.append(open_checkpoint(read_note(path), signer.verifier))
            except FileNotFoundError:
                continue
            except (NoteError, UnicodeDecodeError) as error:
                refused.append(f"{path}: {error}")
            except UnusableFileError as error:
                refused.append(f"{path}: {error.strerror}")
        if not found:
            if refused:
                raise SealerError(_lost(refused[0]))
            if (self._folder.root / "tile").exists():
                raise SealerError(_lost(f"{self._folder.checkpoint} does not exist"))
            return None
        for sentence in refused:
            self._report(f"{sentence}; going on with the other copy")
        newest = max(found, key=lambda checkpoint: checkpoint.size)
        reader = TreeReader(self._folder.root, newest.size)
        for checkpoint in found:
            try:
                proof = reader.consistency_path(checkpoint.size)
            except TreeError as error:
                raise SealerError(_lost(str(error))) from None
            if not merkle.is_consistent(checkpoint.size, checkpoint.root, newest.size, newest.root, proof):
                raise SealerError(_lost(f"{paths[0]} and {paths[1]} are checkpoints of different trees"))
        return newest

    def _followers(
        self, checkpoint: Checkpoint, record_key: RecordKey
    ) -> tuple[dict[str, Follower], dict[str, Follower]]:
        """Open and finished boots of the tree, from the saved places and from the entries after them."""
        saved = self._folder.read_places(record_key)
        start, open_ones, finished = saved or (0, {}, {})
        try:
            if start > checkpoint.size:
                raise ValueError(start)
            awake = {key: self._restored(key, place) for key, place in open_ones.items()}
            asleep = {key: self._restored(key, place) for key, place in finished.items() if key not in awake}
        except (ValueError, KeyError, TypeError):
            start, awake, asleep = 0, {}, {}
        for entry in self._entries(start, checkpoint):
            key = f"{entry.writer}/{entry.boot}"
            if key in asleep:
                awake[key] = asleep.pop(key)
            elif key not in awake:
                boot = Boot.at(self._audit_dir, key)
                awake[key] = self._follower(boot)
            awake[key].take(entry)
        return awake, asleep

    def _follower(self, boot: Boot) -> Follower:
        return Follower(boot, BootReader(boot), is_deleted=self._is_deleted)

    def _restored(self, key: str, place: dict[str, Any]) -> Follower:
        found = Follower.restored(Boot.at(self._audit_dir, key), place)
        found.is_deleted = self._is_deleted
        return found

    def _is_deleted(self, boot: Boot, segment: int) -> bool:
        """Whether a segment is gone by a deletion that this key has signed: such a gap is no fault."""
        if (tree := self._tree) is None:
            return False
        notes = DeletionNotes(self._folder.root)
        # A note is there before its segments go. All are read again only when there is another one.
        if (paths := notes.paths()) != tree.notes:
            deletions = notes.signed(tree.signer.verifier)
            tree.deleted = {(one.key, one.segment) for deletion in deletions for one in deletion.segments}
            tree.notes = paths
        return (boot.key, segment) in tree.deleted

    def _entries(self, start: int, checkpoint: Checkpoint) -> Iterator[Entry]:
        reader = TreeReader(self._folder.root, checkpoint.size)
        try:
            for data in reader.proven_entries(checkpoint.root, start):
                yield parse_entry(data)
        except (TreeError, EntryError) as error:
            raise SealerError(_lost(str(error))) from None


def _saved(followers: dict[str, Follower]) -> dict[str, dict[str, object]]:
    return {key: follower.saved() for key, follower in followers.items()}


def _newest_heard(tree: _Tree) -> list[str]:
    """The boots that a checkpoint names: those that were heard last, and none without a frame.

    A note has a limit. An attacker who makes many boots must not make a checkpoint that no program reads.
    """
    names = [key for key, follower in tree.open.items() if follower.chain.number]
    if len(names) <= MOST_NAMED:
        return names
    return sorted(names, key=lambda key: tree.heard.get(key, 0.0), reverse=True)[:MOST_NAMED]


def _shown(now: datetime) -> str:
    return now.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _unread_bytes(follower: Follower) -> int:
    """The number of bytes of a boot that are not in the tree."""
    boot, index, total = follower.boot, follower.reader.segment, -follower.reader.offset
    # Not from a listing, which takes long where there are thousands of segments.
    with suppress(OSError):
        while True:
            total += boot.segment(index).stat().st_size
            index += 1
    return max(0, total)


def _has_more(follower: Follower) -> bool:
    """Whether a boot has bytes that were not read."""
    reader = follower.reader
    last = (follower.boot.segments() or [0])[-1]
    if last != reader.segment:
        return last > reader.segment
    try:
        return follower.boot.segment(last).stat().st_size != reader.offset + reader.tail
    except OSError:
        return False


def _described(entry: FaultEntry) -> str:
    return f"segment {entry.segment:06} at byte {entry.offset}: {entry.reason.value}; sealed as a fault"


def _lost(why: str) -> str:
    return (
        f"{why}. The sealed tree was altered, cut or rolled back: keep a copy of the folder as evidence, run "
        "`portcullis audit verify`, and restore it from a backup, or begin a new tree with `portcullis audit key "
        "--new-tree`"
    )
