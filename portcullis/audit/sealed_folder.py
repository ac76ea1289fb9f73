"""The folder `sealed` of an audit folder: the newest checkpoint, older ones by day, and the place of every boot.

checkpoint                 the newest signed checkpoint
checkpoints/2026-11-30.txt older ones, about one for each minute, each followed by an empty line
tile/                      the tree (`tree`)
progress                   where the sealer reads on in each boot; made again from the tree if it is lost
finished                   the same for boots that are closed or silent
lock                       held by the one sealer

`progress` and `finished` are JSON behind a code that only the sealer's key makes. Otherwise an attacker could have
the sealer go on behind frames that are not sealed, and remove them without a trace.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any

from oauth_core.audit_log.signed_notes import LONGEST_NOTE
from oauth_core.process import file_lock, private_files
from portcullis.audit import record_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.crypto.record_authentication import RecordKey
    from portcullis.audit.seal_key import SealKey

NAME = "sealed"

_MOST_PLACES = 256 * 1024 * 1024
"""Bytes of the places of boots: room for some 500,000 of them."""
_PIECE = 64 * 1024
_BETWEEN = b"\n\n"


class SealedFolder:
    """The files of one sealed folder. Methods raise `OSError`."""

    def __init__(self, audit_dir: Path) -> None:
        self.root = audit_dir / NAME

    @property
    def checkpoint(self) -> Path:
        """The file of the newest checkpoint."""
        return self.root / "checkpoint"

    @property
    def days(self) -> Path:
        """The folder of older checkpoints."""
        return self.root / "checkpoints"

    @property
    def lock(self) -> Path:
        """The lock of the sealer."""
        return self.root / "lock"

    @property
    def has_tree(self) -> bool:
        """Whether there is a sealed tree, or what is left of one."""
        return self.checkpoint.exists() or (self.root / "tile").exists()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process, and make it if there is none. Raises `file_lock.HeldError`."""
        for folder in (self.root.parent, self.root):
            folder.mkdir(mode=0o700, exist_ok=True)
        with file_lock.held(self.lock):
            yield

    def read_checkpoint(self) -> str | None:
        """The newest note, or `None` if there is none. Raises `ValueError` if it is no text."""
        try:
            return read_note(self.checkpoint)
        except FileNotFoundError:
            return None

    def write_checkpoint(self, note: str) -> None:
        """Replace the newest note."""
        private_files.write(self.checkpoint, note)
        private_files.sync_folder(self.root)

    def put_aside(self, key: SealKey) -> Path | None:
        """Rename the folder, with the public half of its key in it; return its new path, or `None` without a tree.

        The caller holds the folder; the lock moves with it, so that no other sealer uses the old one.
        """
        if not self.has_tree:
            return None
        number = 1
        while (aside := self.root.with_name(f"{NAME}-{number}")).exists():
            number += 1
        for path in (key.public, key.checkpoint):
            with suppress(FileNotFoundError):
                private_files.write(self.root / path.name, path.read_text(encoding="utf-8"))
        self.root.rename(aside)
        key.checkpoint.unlink(missing_ok=True)
        private_files.sync_folder(aside.parent)
        return aside

    def read_places(
        self, key: RecordKey | None = None
    ) -> tuple[int, dict[str, dict[str, Any]], dict[str, dict[str, Any]]] | None:
        """The size of the tree, and the places of open and of finished boots; `None` if they are unusable.

        With `key`, they are usable only if it has signed both files.
        """
        try:
            progress, finished = (_opened(path, key) for path in (self._progress, self._finished))
            return int(progress["size"]), _places(progress), _places(finished)
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return None

    def write_places(self, size: int, places: dict[str, dict[str, object]], key: RecordKey) -> None:
        """Save the places of open boots, and the size of the tree that they belong to."""
        _write_signed(self._progress, {"size": size, "boots": places}, key)

    def write_finished(self, places: dict[str, dict[str, object]], key: RecordKey) -> None:
        """Save the places of boots that are read seldom, before `write_places` leaves them out."""
        _write_signed(self._finished, {"boots": places}, key)

    @property
    def _progress(self) -> Path:
        return self.root / "progress"

    @property
    def _finished(self) -> Path:
        return self.root / "finished"


def _write_signed(path: Path, content: dict[str, object], key: RecordKey) -> None:
    private_files.write(path, key.sign(path.name, json.dumps(content)))


def _opened(path: Path, key: RecordKey | None) -> Any:
    """The content of a file that `key` has signed. Without a key, its code is not checked."""
    signed = record_files.content(path, _MOST_PLACES).decode("utf-8")
    return json.loads(signed.partition(".")[2] if key is None else key.open(path.name, signed))


def _places(content: Any) -> dict[str, dict[str, Any]]:
    return {key: dict(place) for key, place in dict(content["boots"]).items()}


def append_note(folder: Path, day: str, note: str) -> None:
    """Append a note to the file of a day in `folder`. Raises `OSError`."""
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{day}.txt"
    handle = record_files.descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        data = f"{note}\n".encode()
        size = os.fstat(handle).st_size
        if os.write(handle, data) < len(data):
            os.ftruncate(handle, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(handle)


def read_note(path: Path) -> str:
    """The text of a checkpoint's file. Raises `OSError`, and `ValueError` if it is no text."""
    return record_files.content(path, LONGEST_NOTE).decode("utf-8")


def notes_in(file: IO[bytes]) -> Iterator[str]:
    """Yield the notes of the file of a day.

    Text behind the last whole one counts as a note, which no key has signed. A note that is too long is cut off,
    and is the last one.
    """
    rest, body = b"", None
    while piece := file.read(_PIECE):
        *whole, rest = (rest + piece).split(_BETWEEN)
        for part in whole:
            text = part.decode("utf-8", "replace")
            if body is None:
                body = text
            else:
                yield f"{body}\n\n{text}\n"
                body = None
        if len(rest) > LONGEST_NOTE:
            break
    unsigned = [body, rest[:LONGEST_NOTE].decode("utf-8", "replace")]
    if text := "\n\n".join(part for part in unsigned if part):
        yield text
