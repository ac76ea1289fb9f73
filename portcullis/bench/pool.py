"""The tokens of a run, in a file that every generator process maps: a token, its subject and its id on a line.

A million tokens are 600 MB. Mapped, they are in memory once, however many processes ask with them.
"""

from __future__ import annotations

import mmap
from array import array
from typing import TYPE_CHECKING, NamedTuple

from oauth_core.process import private_files

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

LARGEST = 1_000_000
"""Tokens in one pool."""


class Entry(NamedTuple):
    """One token, its subject (`sub`) and its id (`jti`)."""

    token: bytes
    subject: bytes
    jti: bytes


def line(entry: Entry) -> bytes:
    """An entry as a line of the file."""
    return b" ".join(entry) + b"\n"


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a pool that no other user of this machine can read."""
    with open(path, "wb", opener=private_files.descriptor) as file:
        file.writelines(line(entry) for entry in entries)


class Pool:
    """The tokens of a file, by number from 0."""

    def __init__(self, path: Path) -> None:
        """Raises `ValueError` when the file has no tokens in it."""
        if not path.stat().st_size:
            raise ValueError(f"{path} holds no tokens")
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._starts = array("Q", [0])
        at = self._map.find(b"\n")
        while at >= 0:
            self._starts.append(at + 1)
            at = self._map.find(b"\n", at + 1)
        if self._starts[-1] != len(self._map):
            raise ValueError(f"{path} is cut short")

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, number: int) -> Entry:
        token, subject, jti = self._map[self._starts[number] : self._starts[number + 1] - 1].split(b" ")
        return Entry(token, subject, jti)

    def close(self) -> None:
        """Unmap the file."""
        self._map.close()
