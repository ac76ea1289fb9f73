"""Room that is kept free on the disk of the Redis that `portcullis up` runs.

On a full disk Redis refuses every write. An incident command gives this room up first, so that what it takes
away is written down and survives a restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NAME = "portcullis-reserve"
_BYTES = 8 * 1024 * 1024
_AT_ONCE = 64 * 1024


def keep(folder: Path) -> None:
    """Take the room, in Redis' data folder, unless it is taken or the disk has none."""
    path = folder / NAME
    if path.exists() and path.stat().st_size == _BYTES:
        return
    try:
        # Written out: a file with holes takes no room.
        with path.open("wb") as file:
            for _ in range(_BYTES // _AT_ONCE):
                file.write(bytes(_AT_ONCE))
    except OSError:
        path.unlink(missing_ok=True)


def give_up(folder: Path) -> bool:
    """Free the room. Answers whether there was any: another Redis, or one elsewhere, has none."""
    try:
        (folder / NAME).unlink()
    except OSError:
        return False
    return True
