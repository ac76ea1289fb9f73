"""A lock file: one process at a time may hold a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.process import private_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_ATTEMPTS = 500
_AGAIN_SECONDS = 0.02
_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK
"""A link in the place of the lock would have another file emptied, and a pipe would block this process."""


class HeldError(Exception):
    """Another process holds the lock. `holder` is its process id, or `unknown`."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"held by process {holder}")
        self.holder = holder


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, which is created if needed, until the block ends.

    The kernel releases the lock when this process ends in any way, so a crash never leaves one behind. Raises
    `HeldError` and `OSError`.
    """
    lock = private_files.descriptor(path, os.O_RDWR | os.O_CREAT | _FLAGS)
    try:
        if not stat.S_ISREG(os.fstat(lock).st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if not _is_taken(lock):
            raise HeldError(os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _is_taken(lock: int) -> bool:
    """Take the lock; return whether that worked.

    A process in `is_held` has a shared lock for a moment. Another shared lock tells it from a holder: it works
    beside the first one, and never beside that of a holder.
    """
    for _ in range(_ATTEMPTS):
        if _locks(lock, fcntl.LOCK_EX):
            return True
        if not _locks(lock, fcntl.LOCK_SH):
            return False
        fcntl.flock(lock, fcntl.LOCK_UN)
        time.sleep(_AGAIN_SECONDS)
    return False


def _locks(lock: int, kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock file at `path` now."""
    try:
        lock = private_files.descriptor(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        return not _locks(lock, fcntl.LOCK_SH)
    except OSError:
        return True
    finally:
        os.close(lock)
