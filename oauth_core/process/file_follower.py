"""Watches a file by its name: detects when the present file differs from the one that was read.

A file is identified by its inode, its time of change and its size. Links are followed, so a swap of the links that
Kubernetes and certbot make counts as a change.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_Fingerprint = tuple[int, int, int]


class FileFollower:
    """One file. Until `record_reading` is called it counts as changed, whether it exists or not."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._noted = False
        self._read: _Fingerprint | None = None
        self._seen = self._fingerprint()

    def record_reading(self) -> None:
        """Call this before each reading: a later change of the file counts as a change."""
        self._read = self._fingerprint()
        self._noted = True

    def has_changed(self) -> bool:
        """Return whether the file differs from that of the last reading."""
        return not self._noted or self._fingerprint() != self._read

    def has_settled_change(self) -> bool:
        """Return whether the file has changed, and has stayed the same since the last call of this method.

        A file that another program is still writing changes from call to call.
        """
        before, self._seen = self._seen, self._fingerprint()
        return self._seen == before and (not self._noted or self._seen != self._read)

    def _fingerprint(self) -> _Fingerprint | None:
        """Return values that change with the file; `None` for a file whose status cannot be read."""
        try:
            status = os.stat(self.path)  # noqa: PTH116 - as short
        except OSError:
            return None
        return status.st_ino, status.st_mtime_ns, status.st_size
