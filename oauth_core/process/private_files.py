"""Files for their owner only: written whole or not at all, and opened.

Secrets, logs and backups are in such files. The mode is set when a file is created, so that at no time another
user of the machine can open it.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MODE = 0o600


def write(path: Path, text: str) -> Path:
    """Replace the file at `path` by one with `text`. Raises `OSError`; the old file then stays."""
    with replacing(path) as file:
        file.write(text.encode())
    return path


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Yield a file that replaces the one at `path` when the block ends without an error.

    It is written beside the old file, flushed to the disk and renamed. A reader sees the old file or the whole new
    one, also after a crash, and the old file stays when the disk is full. Raises `OSError`.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    unfinished = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


def sync_folder(folder: Path) -> None:
    """Bring the names in `folder` to the disk, so that a new file is found after a crash. Raises `OSError`."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def sync_content(file: int) -> None:
    """Bring the content of an open file to the disk, and of its attributes the size only. Raises `OSError`."""
    getattr(os, "fdatasync", os.fsync)(file)  # macOS has no fdatasync


def descriptor(path: Path | str, flags: int) -> int:
    """Open a file, created for its owner only if `flags` create it; the `opener` of `open`. Raises `OSError`."""
    return os.open(path, flags | os.O_CLOEXEC, _MODE)


def appending(path: Path) -> int:
    """Return a descriptor that appends to the file at `path`, which is created if needed. Raises `OSError`."""
    return descriptor(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
