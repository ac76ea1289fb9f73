"""The signed deletions of a sealed folder: `sealed/deletions/<time>-<random>.txt`, one note in each file.

A file is written before the segments that it names are deleted, and stays.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

from oauth_core.audit_log.deletions import open_deletion, parse_deletion
from oauth_core.audit_log.signed_notes import NoteError, split_note
from oauth_core.process import private_files
from portcullis.audit.sealed_folder import read_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.audit_log.deletions import Deletion
    from oauth_core.audit_log.signed_notes import Signer, VerifierKey

_NAME = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\.txt\Z")


class DeletionNotes:
    """The notes of one sealed folder."""

    def __init__(self, sealed: Path) -> None:
        self.folder = sealed / "deletions"

    @property
    def lock(self) -> Path:
        """Held while segments are deleted."""
        return self.folder / "lock"

    def paths(self) -> list[Path]:
        """The files of notes, oldest first."""
        return [path for path in self._entries() if _NAME.match(path.name)]

    def others(self) -> list[Path]:
        """The files and folders that no program makes. A killed program leaves a file with a dot in front."""
        return [
            path
            for path in self._entries()
            if not (_NAME.match(path.name) or path == self.lock or path.name.startswith("."))
        ]

    def _entries(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def opened(self, path: Path, key: VerifierKey) -> Deletion:
        """The deletion of one file. Raises `NoteError` unless `key` has signed it, and `OSError`."""
        try:
            return open_deletion(read_note(path), key)
        except UnicodeDecodeError:
            raise NoteError("it is no text") from None

    def signed(self, key: VerifierKey) -> Iterator[Deletion]:
        """Yield the deletions that `key` has signed; others are left out."""
        for path in self.paths():
            try:
                yield self.opened(path, key)
            except (NoteError, OSError):
                continue

    def named(self) -> dict[str, set[int]]:
        """The segments of each boot that some note names. No signature is verified: `verify` does that."""
        found: dict[str, set[int]] = {}
        try:
            paths = self.paths()
        except OSError:  # a link to itself, or a folder of another person
            return found
        for path in paths:
            try:
                deletion = parse_deletion(split_note(read_note(path))[0])
            except (NoteError, OSError, UnicodeDecodeError):
                continue
            for segment in deletion.segments:
                found.setdefault(segment.key, set()).add(segment.segment)
        return found

    def write(self, deletion: Deletion, signer: Signer) -> Path:
        """Write a note, so that it is on the disk. Raises `OSError` and `NoteError`."""
        time = "".join(c for c in deletion.time.partition(".")[0] if c not in "-:")
        path = self.folder / f"{time}Z-{os.urandom(4).hex()}.txt"
        private_files.write(path, deletion.sign(signer))
        private_files.sync_folder(self.folder)
        return path
