"""Rotation of the log files of one gateway: each is cut into pieces, which are kept across starts up to a limit.

NAME.log        the file that the program writes
NAME.log.1      the piece before, and so on up to `.9`; older ones are deleted

A program that follows its file by name (`log_file`) gets a new file, and no line is lost: the audit
log is in such files. For any other program the piece is copied and the file is emptied, which can lose lines that
the program writes at that moment.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from oauth_core.process import private_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PIECES = 10
"""Pieces of each program, including the one that it writes."""

LOW_SPACE = 64 * 1024 * 1024
"""Bytes. With less room than this on the disk, old pieces are deleted early."""

_KEPT_WHEN_LOW = 1
"""Old pieces that always stay."""

LOOK_SECONDS = 1.0
"""How often `up` looks at the files."""


class LogFiles:
    """The folder of all logs, with a limit in bytes for the logs of each program."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._piece = keep // PIECES
        self._following: set[str] = set()

    def path_of(self, name: str, *, follows: bool = False) -> Path:
        """The file of the program `name`. `follows`: it opens its file by name before it writes."""
        if follows:
            self._following.add(name)
        return self.folder / f"{name}.log"

    def rotate(self) -> list[str]:
        """Cut files that are too long, and make room on a full disk. Returns messages. Raises `OSError`."""
        for file in sorted(self.folder.glob("*.log")):
            if file.stat().st_size >= self._piece:
                self._cut(file, follows=file.stem in self._following)
        return self._make_room()

    def _cut(self, file: Path, *, follows: bool) -> None:
        self._piece_of(file, PIECES - 1).unlink(missing_ok=True)
        for number in range(PIECES - 2, 0, -1):
            if (old := self._piece_of(file, number)).exists():
                old.replace(self._piece_of(file, number + 1))
        fresh = self._piece_of(file, 1)
        if follows:
            file.replace(fresh)
            return
        try:
            with file.open("r+b") as written, open(fresh, "wb", opener=private_files.descriptor) as piece:
                shutil.copyfileobj(written, piece)
                written.truncate(0)
        except OSError:
            # No room for a copy: the limit still holds.
            fresh.unlink(missing_ok=True)
            os.truncate(file, 0)

    def _make_room(self) -> list[str]:
        deleted = []
        for piece in self._oldest_first():
            if shutil.disk_usage(self.folder).free >= LOW_SPACE:
                break
            piece.unlink(missing_ok=True)
            deleted.append(piece.name)
        return [f"the disk is nearly full: deleted {', '.join(deleted)}"] if deleted else []

    def _oldest_first(self) -> Iterable[Path]:
        numbers = range(PIECES - 1, _KEPT_WHEN_LOW, -1)
        files = sorted(self.folder.glob("*.log"))
        return [piece for n in numbers for file in files if (piece := self._piece_of(file, n)).exists()]

    @staticmethod
    def _piece_of(file: Path, number: int) -> Path:
        return file.with_name(f"{file.name}.{number}")
