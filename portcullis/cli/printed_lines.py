"""Prints many lines to a reader that may go away before the end, such as `head`."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def until_the_reader_goes() -> Iterator[None]:
    """Run a block that prints; it ends without an error when the reader of standard output has closed it.

    Standard output is flushed at the end.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes standard output at its end too, and would report the same error then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
