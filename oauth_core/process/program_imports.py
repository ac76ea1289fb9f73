"""The imports of a program, without garbage collections meanwhile.

The collector of cycles runs after so many new objects, and now and then looks at all objects that exist. Imports
make hundreds of thousands of them, and nearly all stay until the program ends: the collector finds nothing, and
takes a third of the time of a program's start.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def kept_imports() -> Iterator[None]:
    """Collect nothing in the block, which imports modules that the program uses until it ends.

    All objects that exist after an import are frozen: no later collection looks at them.
    """
    was_enabled, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_enabled:
            gc.enable()
