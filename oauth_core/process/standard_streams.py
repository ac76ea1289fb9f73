"""Keeps the numbers of standard input, output and error (0, 1, 2) from being given to other files.

A program may be started with one of them closed (`program >&-`). The next file that it opens then gets that
number, and printed text goes into that file: a log, or a connection.
"""

from __future__ import annotations

import os
import sys

_LAST = 2


def open_closed_ones() -> None:
    """Open the null device on each of the three that is closed. Call it before any other file is opened."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= _LAST:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 - as those of a shell are
        descriptor = os.open(os.devnull, os.O_RDWR)
    os.close(descriptor)
    # Python sets those that were closed at its start to None.
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
