"""A reserve of disk space for the Redis that `portcullis up` runs.

On a full disk Redis refuses every write. An incident command frees this reserve first, so that its revocations
are written to disk and survive a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "portcullis-reserve"
_BYTES = 8 * 1024 * 1024
_AT_ONCE = 64 * 1024


def create_reserve(folder: Path) -> None:
    """Create the reserve in Redis' data folder, unless it exists or the disk has no room."""
    path = folder / NAME
    if path.exists() and path.stat().st_size == _BYTES:
        return
    try:
        # All bytes are written: a sparse file takes no room.
        with path.open("wb") as file:
            for _ in range(_BYTES // _AT_ONCE):
                file.write(bytes(_AT_ONCE))
    except OSError:
        path.unlink(missing_ok=True)


def free_reserve(folder: Path) -> bool:
    """Free the reserve. Return whether there was one: the operator's own Redis has none."""
    try:
        (folder / NAME).unlink()
    except OSError:
        return False
    return True
