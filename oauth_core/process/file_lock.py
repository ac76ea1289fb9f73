"""A lock file: one process at a time may hold a folder."""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.process import private_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_ATTEMPTS = 5
_AGAIN_SECONDS = 0.02


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
    lock = private_files.descriptor(path, os.O_RDWR | os.O_CREAT)
    try:
        if not _is_taken(lock):
            raise HeldError(os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown")
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


def _is_taken(lock: int) -> bool:
    """Take the lock; return whether that worked. `is_held` of another process has it for some microseconds."""
    for attempt in range(_ATTEMPTS):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < _ATTEMPTS - 1:
                time.sleep(_AGAIN_SECONDS)
        else:
            return True
    return False


def is_held(path: Path) -> bool:
    """Return whether a process holds the lock file at `path` now."""
    try:
        lock = private_files.descriptor(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(lock)
    return False
