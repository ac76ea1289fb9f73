"""Opens the files of an audit folder: regular files only, no link is followed, and no more is read than asked for.

Another person may be able to write to the folder, or may have made the copy of it that is read. A pipe in it would
stop its readers, a link would lead them elsewhere, and a huge file would exhaust them.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import IO, TYPE_CHECKING

from oauth_core.process import private_files

if TYPE_CHECKING:
    from pathlib import Path

FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK


class UnusableFileError(OSError):
    """It is a link, a folder, a pipe or a device, or it is longer than such a file can be."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EINVAL, why, str(path))


def reading(path: Path) -> IO[bytes]:
    """Open a file of the audit folder. Raises `UnusableFileError` and other `OSError`s."""
    return os.fdopen(descriptor(path, os.O_RDONLY), "rb")


def descriptor(path: Path, flags: int) -> int:
    """Open a file of the audit folder with `flags`. Raises `UnusableFileError` and other `OSError`s."""
    try:
        handle = private_files.descriptor(path, flags | FLAGS)
    except OSError as error:
        # ELOOP: a link. ENXIO: a pipe without a reader, or a socket. EISDIR: a folder, opened for writing.
        if error.errno in {errno.ELOOP, errno.ENXIO, errno.EISDIR}:
            raise UnusableFileError(path, _OTHER) from None
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise UnusableFileError(path, _OTHER)


def content(path: Path, most: int) -> bytes:
    """Return the whole content, `most` bytes at most. Raises `UnusableFileError` and other `OSError`s."""
    with reading(path) as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise UnusableFileError(path, f"it has more than {most} bytes")
    return data


_OTHER = "it is no regular file"
