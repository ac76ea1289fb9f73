"""Retention: deletes the oldest segments, by a note that the sealer's key has signed.

Only segments go that are closed, sealed and exactly as they were sealed. Their age is the time when they were
sealed: a program could write false times. The order is: a signed note, on the disk; then copies; then segments. A
run that was killed in between is finished by the next one. The tree stays, with all its entries.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.deletions import MOST_SEGMENTS, DeletedSegment, Deletion, words
from oauth_core.audit_log.entries import EntryError, FaultEntry, parse_entry
from oauth_core.audit_log.frames import FrameKind
from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.crypto.digests import RunningSha256
from oauth_core.process import file_lock, private_files
from portcullis.audit import moments, record_files
from portcullis.audit.deletions import DeletionNotes
from portcullis.audit.sealed_folder import SealedFolder, notes_in, read_note
from portcullis.audit.segments import Boot, BootReader, StoredFrame, boots, opening_of
from portcullis.audit.tree import TreeError, TreeReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence, Set
    from datetime import datetime
    from pathlib import Path

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.entries import Entry, FrameEntry
    from oauth_core.audit_log.signed_notes import Signer

_SILENT = timedelta(days=1)
"""The last segment of a boot without a closing frame is closed after so long, if its writer has a later boot."""


class PruneError(Exception):
    """The deletion is not possible. The message says why."""


@dataclass(slots=True)
class _Span:
    """The frames of one segment in the tree: those from an opening frame to the next one."""

    number: int
    first: int
    frames: int = 0
    events: int = 0
    last: int = 0
    is_regular: bool = True
    """Whether each frame followed the one before it."""
    is_followed: bool = False
    is_closed: bool = False
    hashed: RunningSha256 = field(default_factory=RunningSha256)

    def add(self, entry: FrameEntry, index: int) -> None:
        self.is_regular &= entry.number == self.number + self.frames
        self.frames += 1
        self.events += entry.count
        self.last = index
        self.is_closed = entry.kind is FrameKind.CLOSING
        self.hashed.add(entry.digest)


@dataclass(slots=True)
class _SealedBoot:
    """The segments of one boot in the tree, by the numbers of their first frames."""

    spans: dict[int, _Span] = field(default_factory=dict)
    newest: _Span | None = None
    faulty: set[int] = field(default_factory=set)
    """Segments with a sealed fault: they are evidence."""

    def add(self, entry: Entry, index: int) -> None:
        if isinstance(entry, FaultEntry):
            self.faulty.add(entry.segment)
            return
        if entry.kind is FrameKind.OPENING:
            if self.newest is not None:
                self.newest.is_followed = True
            is_new = entry.number not in self.spans
            self.newest = self.spans.setdefault(entry.number, _Span(entry.number, index))
            self.newest.is_regular &= is_new
        if self.newest is not None:
            self.newest.add(entry, index)


@dataclass(frozen=True, slots=True)
class Prunable:
    """A segment that can be deleted: its file, and what the tree has of it."""

    boot: Boot
    size: int
    sealed: DeletedSegment

    @property
    def path(self) -> Path:
        """The file."""
        return self.boot.segment(self.sealed.segment)


@dataclass(slots=True)
class Plan:
    """The segments that a deletion would remove, oldest first, and those it cannot remove."""

    segments: list[Prunable] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Sentences about segments that are old enough, and are not as they were sealed."""
    record_bytes: int = 0
    """Bytes of all segments before the deletion."""
    unsent: int = 0
    """Segments that stay because a sink does not have them yet."""

    @property
    def bytes(self) -> int:
        """Bytes of the segments."""
        return sum(one.size for one in self.segments)

    @property
    def events(self) -> int:
        """Events in the segments."""
        return sum(one.sealed.events for one in self.segments)


class Pruning:
    """Deletes segments of one audit folder. Methods raise `PruneError` and `OSError`."""

    def __init__(
        self,
        audit_dir: Path,
        signer: Signer,
        *,
        now: datetime,
        remove_copies: Callable[[Set[tuple[str, str, int]]], None],
    ) -> None:
        """`remove_copies` removes the copies that have one of these segments: writer, boot and number."""
        self._audit_dir = audit_dir
        self._signer = signer
        self._now = now
        self._remove_copies = remove_copies
        self._folder = SealedFolder(audit_dir)
        self._notes = DeletionNotes(self._folder.root)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the deletions of this folder for this process. Raises `file_lock.HeldError`."""
        self._checkpoint()
        for folder in (self._audit_dir / "segments", self._notes.folder):
            if folder.is_symlink():
                raise PruneError(f"{folder} is a link")
        self._notes.folder.mkdir(mode=0o700, exist_ok=True)
        with file_lock.held(self._notes.lock):
            yield

    def plan(
        self,
        *,
        older_than: datetime | None = None,
        keep_bytes: int | None = None,
        sent: int | None = None,
    ) -> Plan:
        """Choose the segments that were sealed before `older_than`, or that are too much for `keep_bytes`.

        With `sent`, segments stay that have an entry of the tree from this one on.
        """
        plan = Plan()
        candidates: list[tuple[_Span, Boot, int, int]] = []
        silent = self._sealed_before(self._now - _SILENT)
        sealed = self._sealed()
        newest_of = {boot.writer: boot.name for boot in boots(self._audit_dir)}  # in the order of their times
        for boot in boots(self._audit_dir):
            entries = sealed.get(boot.key, _SealedBoot())
            for index in boot.segments():
                with suppress(FileNotFoundError):
                    size = boot.segment(index).lstat().st_size
                    plan.record_bytes += size
                    span = _span_of(boot, index, entries)
                    if span is None:
                        continue
                    is_last = not (span.is_followed or span.is_closed)
                    if is_last and not (boot.name < newest_of[boot.writer] and span.last < silent):
                        continue
                    candidates.append((span, boot, index, size))
        old = 0 if older_than is None else self._sealed_before(older_than)
        left = plan.record_bytes
        for span, boot, index, size in sorted(candidates, key=lambda one: one[0].last):
            if span.last >= old and (keep_bytes is None or left <= keep_bytes):
                continue
            if sent is not None and span.last >= sent:
                plan.unsent += 1
                continue
            if (fault := _fault_of(boot, index, span)) is not None:
                plan.kept.append(f"{boot.key}, segment {index:06}: kept, {fault}")
                continue
            left -= size
            plan.segments.append(Prunable(boot, size, _named(boot, index, span)))
        return plan

    def carry_out(self, plan: Plan, *, operator: str, reason: str) -> list[Path]:
        """Sign notes of the plan, and delete its segments. Returns the notes. The caller holds the folder.

        The segments are compared once more: much time may be between the plan and its confirmation.
        """
        for one in plan.segments:
            if not self._is_ready(one.sealed):
                raise PruneError(f"{one.boot.key}, segment {one.sealed.segment:06} has changed meanwhile")
        notes = []
        for start in range(0, len(plan.segments), MOST_SEGMENTS):
            segments = tuple(one.sealed for one in plan.segments[start : start + MOST_SEGMENTS])
            time = moments.recorded(self._now)
            deletion = Deletion(self._signer.verifier.name, time, words(operator), words(reason), segments)
            try:
                notes.append(self._notes.write(deletion, self._signer))
            except NoteError as error:
                raise PruneError(str(error)) from None
            self._delete(segments)
        return notes

    def finish(self) -> int:
        """Delete what a run that was killed has signed and not deleted. Returns how many segments there were.

        A segment that is not as it was sealed stays. The caller holds the folder.
        """
        count = 0
        for deletion in self._notes.signed(self._signer.verifier):
            unfinished = [one for one in deletion.segments if self._is_ready(one)]
            if unfinished:
                self._delete(unfinished)
                count += len(unfinished)
        return count

    def _delete(self, segments: Sequence[DeletedSegment]) -> None:
        self._remove_copies({(one.writer, one.boot, one.segment) for one in segments})
        by_boot: dict[Boot, list[DeletedSegment]] = {}
        for one in segments:
            by_boot.setdefault(self._boot(one), []).append(one)
        for boot, its in by_boot.items():
            with suppress(FileNotFoundError), ExitStack() as stack:
                root = stack.enter_context(_folder(self._audit_dir / "segments"))
                writer = stack.enter_context(_folder(boot.writer, root))
                folder = stack.enter_context(_folder(boot.name, writer))
                for one in its:
                    with suppress(FileNotFoundError):
                        os.unlink(boot.segment(one.segment).name, dir_fd=folder)
                private_files.sync_folder(boot.folder)
                with suppress(OSError):  # it has other segments
                    os.rmdir(boot.name, dir_fd=writer)

    def _is_ready(self, one: DeletedSegment) -> bool:
        """Whether a segment is in its own folder, exactly as it was sealed. Raises `OSError`."""
        boot = self._boot(one)
        is_linked = any(path.is_symlink() for path in (boot.folder, *boot.folder.parents[:2]))
        return not is_linked and _is_as_named(boot, one)

    def _boot(self, one: DeletedSegment) -> Boot:
        return Boot.at(self._audit_dir, one.key)

    # -- the tree ----------------------------------------------------------------------------------------------

    def _checkpoint(self) -> Checkpoint:
        path = self._folder.checkpoint
        try:
            return open_checkpoint(read_note(path), self._signer.verifier)
        except FileNotFoundError:
            raise PruneError(f"{path} does not exist: nothing is sealed, so nothing can be deleted") from None
        except (NoteError, UnicodeDecodeError) as error:
            raise PruneError(f"{path}: {error}; run `portcullis audit verify`") from None

    def _sealed(self) -> dict[str, _SealedBoot]:
        """The segments of each boot, by the entries that the newest checkpoint proves."""
        checkpoint, found = self._checkpoint(), dict[str, _SealedBoot]()
        try:
            entries = TreeReader(self._folder.root, checkpoint.size).proven_entries(checkpoint.root)
            for index, data in enumerate(entries):
                entry = parse_entry(data)
                found.setdefault(f"{entry.writer}/{entry.boot}", _SealedBoot()).add(entry, index)
        except (TreeError, EntryError) as error:
            raise PruneError(f"{error}; run `portcullis audit verify`") from None
        return found

    def _sealed_before(self, moment: datetime) -> int:
        """The number of entries that were sealed before `moment`, by a checkpoint of the days.

        Without such a checkpoint it is 0: then everything counts as newer.
        """
        newest = self._checkpoint().size
        try:
            paths = sorted(self._folder.days.iterdir(), reverse=True)
        except (FileNotFoundError, NotADirectoryError):
            return 0
        limit = moments.recorded(moment)
        for path in paths:
            if path.stem > limit[:10]:
                continue
            before = [
                found.size
                for found in self._opened(path)
                if found.time and moments.recorded(moments.read(found.time)) < limit and found.size <= newest
            ]
            if before:
                return max(before)
        return 0

    def _opened(self, path: Path) -> Iterator[Checkpoint]:
        with suppress(OSError), record_files.reading(path) as file:
            for note in notes_in(file):
                with suppress(NoteError):
                    yield open_checkpoint(note, self._signer.verifier)


@contextmanager
def _folder(path: Path | str, parent: int | None = None) -> Iterator[int]:
    """Open a folder that is no link. Otherwise a person who makes one has segments elsewhere deleted."""
    opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield opened
    finally:
        os.close(opened)


def _span_of(boot: Boot, index: int, sealed: _SealedBoot) -> _Span | None:
    """The frames that the tree has of a segment; `None` unless it is sealed without a fault."""
    try:
        found = next(BootReader(boot, segment=index).read_segment(), None)
    except OSError:
        return None
    if not isinstance(found, StoredFrame) or opening_of(found.frame).get("segment") != index:
        return None
    span = sealed.spans.get(found.frame.number)
    return span if span is not None and span.is_regular and index not in sealed.faulty else None


def _named(boot: Boot, index: int, span: _Span) -> DeletedSegment:
    numbers = (index, span.number, span.frames, span.events, span.first, span.last)
    return DeletedSegment(boot.writer, boot.name, *numbers, span.hashed.digest())


def _fault_of(boot: Boot, index: int, span: _Span) -> str | None:
    """Why a segment is not exactly what the tree has of it; `None` if it is."""
    try:
        is_same = _is_as_named(boot, _named(boot, index, span))
    except OSError as error:
        return f"it cannot be read: {error.strerror or error}"
    return None if is_same else "it is not as it was sealed"


def _is_as_named(boot: Boot, one: DeletedSegment) -> bool:
    """Whether the stored segment has these frames and nothing else. Raises `OSError`."""
    reader, hashed, frames = BootReader(boot, segment=one.segment), RunningSha256(), 0
    for found in reader.read_segment():
        if not isinstance(found, StoredFrame):
            return False
        hashed.add(found.frame.digest)
        frames += 1
    return frames == one.frames and not reader.tail and hashed.digest() == one.digest
