"""Verifies an audit folder: that everything that was sealed is there, and nothing of it is altered.

The proof needs the public half of the sealer's key, from a place out of an attacker's reach. A checkpoint that
was kept elsewhere shows in addition that the folder was not rolled back to an earlier state.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import IO, TYPE_CHECKING

from oauth_core.audit_log.checkpoints import open_checkpoint
from oauth_core.audit_log.entries import FrameEntry
from oauth_core.audit_log.signed_notes import NoteError
from oauth_core.process import file_lock
from portcullis.audit import record_files
from portcullis.audit.boot_check import BootCheck, SealTimes, part_within
from portcullis.audit.deletions import DeletionNotes
from portcullis.audit.findings import Report, Word
from portcullis.audit.record_files import UnusableFileError
from portcullis.audit.sealed_boot import SealedBoot
from portcullis.audit.sealed_folder import notes_in, read_note
from portcullis.audit.segments import Boot, boots, others
from portcullis.audit.stamp_check import StampCheck
from portcullis.audit.tree_check import TreeCheck

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from oauth_core.audit_log.checkpoints import Checkpoint
    from oauth_core.audit_log.deletions import Deletion
    from oauth_core.audit_log.signed_notes import VerifierKey
    from portcullis.audit.timestamps import Authorities, Timestamps

_PATIENCE_SECONDS = 10.0
_AGAIN_SECONDS = 0.05
_MOST_FORGED = 100
_ATTEMPTS = 3
"""A person who adds notes all the time must not keep a verification from its end."""

LONGEST_GAP = timedelta(minutes=3)
"""A longer time without a checkpoint is noted: a sealer that runs signs one each minute."""


@dataclass(frozen=True, slots=True)
class KeptNote:
    """A note from outside the sealed folder, and the name of its place."""

    place: str
    note: str


class Verification:
    """One verification of the audit folder `audit_dir`, whose tree is in `sealed`."""

    def __init__(
        self,
        audit_dir: Path,
        sealed: Path,
        key: VerifierKey,
        kept: Sequence[KeptNote] = (),
        *,
        stamps: Sequence[Timestamps] = (),
        authorities: Authorities | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> None:
        """`stamps` are verified with `authorities`; without these only their checkpoints are.

        With `since` or `until`, times as events have them, only segments of that time are compared.

        The tree is always verified as a whole.
        """
        self._audit_dir = audit_dir
        self._sealed = sealed
        self._key = key
        self._kept = kept
        self._stamps = StampCheck(stamps, authorities, self._opened)
        self._since = since
        self._until = until
        self._notes = DeletionNotes(sealed)
        self.report = Report()

    def run(self) -> Report:
        """Verify everything. Raises `OSError` for a folder that cannot be read."""
        for _ in range(_ATTEMPTS - 1):
            notes = self._notes.paths()
            report = self._run()
            # Segments that were deleted meanwhile are not missing: their note was written before.
            if report.is_intact or self._notes.paths() == notes:
                return report
            self.report = Report()
        return self._run()

    def _run(self) -> Report:
        report = self.report
        # The newest checkpoint is read after all others: a sealer may be at work.
        days = self._days()
        kept = [(each.place, found) for each in self._kept if (found := self._opened(each.place, each.note))]
        kept += self._stamps.run(report)
        newest = self._newest(max((found.size for _, found in kept + days), default=0))
        if newest is None:
            # Tiles may still prove what a kept checkpoint says.
            newest = max((found for _, found in kept), key=lambda found: found.size, default=None)
        if newest is None:
            return report
        report.size, report.time = newest.size, newest.time
        tree = TreeCheck(self._sealed, newest, report)
        tree.run(kept + days)
        self._note_gaps([found.time for _, found in days] + [newest.time])
        sealed: dict[str, SealedBoot] = {}
        deletions = self._deletions()
        lasts = {one.last: "" for _, deletion in deletions for one in deletion.segments}
        for index, entry in tree.entries():
            key = f"{entry.writer}/{entry.boot}"
            sealed.setdefault(key, SealedBoot()).add(entry, index)
            if index in lasts and isinstance(entry, FrameEntry):
                lasts[index] = f"{key}/{entry.number}"
        signed = sorted({(found.size, found.time) for found in (*(found for _, found in days), newest)})
        deleted = self._deleted(deletions, sealed, lasts)
        self._check_boots(sealed, newest, SealTimes(signed), deleted)
        return report

    def _deletions(self) -> list[tuple[str, Deletion]]:
        """The deletions that the key has signed, each with the name of its note."""
        found = []
        for path in self._notes.paths():
            place = f"{self._sealed.name}/deletions/{path.name}"
            try:
                found.append((place, self._notes.opened(path, self._key)))
            except NoteError as error:
                self.report.find(Word.FORGED, place, str(error))
            except OSError as error:
                self.report.find(Word.ALTERED, place, error.strerror or str(error))
        for path in self._notes.others():
            place = f"{self._sealed.name}/deletions/{path.name}"
            self.report.find(Word.ADDED, place, "no program that deletes segments makes it")
        return found

    def _deleted(
        self, deletions: list[tuple[str, Deletion]], sealed: dict[str, SealedBoot], lasts: dict[int, str]
    ) -> dict[str, set[int]]:
        """The segments of each boot that were deleted as signed. Their frames count as seen.

        A note counts only for frames that the tree has exactly so, and only while the segment does not exist. An
        existing segment is compared like all others.
        """
        gone: dict[str, set[int]] = {}
        for place, deletion in deletions:
            segments = events = 0
            for one in deletion.segments:
                entries = sealed.get(one.key, SealedBoot())
                is_sealed = (
                    entries.has_frames(one.number, one.frames, one.digest)
                    and entries.openings.get(one.number) == one.first
                    and lasts[one.last] == f"{one.key}/{one.number + one.frames - 1}"
                )
                name = f"{one.key}, segment {one.segment:06}"
                if not is_sealed:
                    self.report.find(Word.ALTERED, place, f"{name} was not sealed as the note names it")
                elif os.path.lexists(Boot.at(self._audit_dir, one.key).segment(one.segment)):
                    self.report.undeleted.append(f"{name}: named by {place}, and still there")
                elif one.segment not in gone.setdefault(one.key, set()):
                    gone[one.key].add(one.segment)
                    for number in range(one.number, one.number + one.frames):
                        entries.mark(number)
                    segments, events = segments + 1, events + one.events
            if segments:
                self.report.deleted.append(
                    f"{segments} segments with {events} events at {deletion.time} by {deletion.operator}: "
                    f"{deletion.reason} ({place})"
                )
        return gone

    def _newest(self, expected: int) -> Checkpoint | None:
        """The checkpoint of the folder. A sealer at work gets some time to write one of `expected` size."""
        path = self._sealed / "checkpoint"
        place = f"{self._sealed.name}/checkpoint"
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                note = read_note(path)
            except FileNotFoundError:
                self.report.find(Word.MISSING, place, "no checkpoint is there")
                return None
            except UnusableFileError as error:
                self.report.find(Word.ALTERED, place, str(error.strerror))
                return None
            except UnicodeDecodeError:
                note = ""
            try:
                found = open_checkpoint(note, self._key)
            except NoteError as error:
                self.report.find(Word.FORGED, place, str(error))
                return None
            is_sealing = file_lock.is_held(self._sealed / "lock")
            if found.size >= expected or not is_sealing or time.monotonic() > deadline:
                return found
            time.sleep(_AGAIN_SECONDS)

    def _opened(self, place: str, note: str) -> Checkpoint | None:
        try:
            return open_checkpoint(note, self._key)
        except NoteError as error:
            self.report.find(Word.FORGED, place, str(error))
            return None

    def _days(self) -> list[tuple[str, Checkpoint]]:
        """The checkpoints of the days, in their order."""
        found: list[tuple[str, Checkpoint]] = []
        folder = self._sealed / "checkpoints"
        paths = sorted(folder.iterdir()) if folder.is_dir() else []
        for path in paths:
            place = f"{self._sealed.name}/checkpoints/{path.name}"
            try:
                with record_files.reading(path) as file:
                    found += self._opened_in(place, file)
            except UnusableFileError as error:
                self.report.find(Word.ADDED, place, str(error.strerror))
        return found

    def _opened_in(self, place: str, file: IO[bytes]) -> Iterator[tuple[str, Checkpoint]]:
        """Yield the checkpoints in the file of a day. After many that no key has signed, the rest is left out."""
        forged = 0
        for note in notes_in(file):
            if checkpoint := self._opened(place, note):
                yield place, checkpoint
                continue
            forged += 1
            if forged == _MOST_FORGED:
                return

    def _note_gaps(self, times: list[str]) -> None:
        """Note the times in which no sealer ran."""
        moments = [datetime.fromisoformat(time) for time in times if time]
        for before, after in pairwise(moments):
            if after - before > LONGEST_GAP:
                self.report.gaps.append(f"{before.isoformat()} to {after.isoformat()}")

    def _check_boots(
        self, sealed: dict[str, SealedBoot], newest: Checkpoint, times: SealTimes, deleted: dict[str, set[int]]
    ) -> None:
        report = self.report
        there = {boot.key: boot for boot in boots(self._audit_dir)}
        newest_of = {boot.writer: boot.name for boot in there.values()}  # in the order of their times
        for path in others(self._audit_dir):
            report.find(Word.ADDED, str(path.relative_to(self._audit_dir)), "no program that records makes it")
        for key in sorted(there.keys() | sealed.keys()):
            boot = there.get(key) or Boot.at(self._audit_dir, key)
            entries = sealed.get(key, SealedBoot())
            part = part_within(boot, entries, times, self._since, self._until)
            if part is None:
                continue
            try:
                is_closed = BootCheck(boot, entries, newest, report, frozenset(deleted.get(key, ()))).run(part)
            except OSError as error:
                report.find(Word.ALTERED, key, f"it cannot be read: {error.strerror or error}")
                continue
            # The newest boot of a writer may still run.
            if not is_closed and boot.name < newest_of.get(boot.writer, ""):
                report.unclosed.append(key)
