"""The imports of a program, without garbage collections meanwhile.

The collector of cycles runs after so many new objects, and now and then looks at all objects that exist. Imports
make hundreds of thousands of them, and nearly all stay until the program ends: the collector finds nothing, and
takes a third of the time of a program's start.

structlog imports Rich where that is installed, for coloured tracebacks. Our logs are JSON, and Rich takes a sixth
of the time of a program's start, so structlog is imported as if Rich were not installed.
"""

from __future__ import annotations

import gc
import sys
from contextlib import contextmanager
from importlib import import_module
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
        _import_structlog()
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        if was_enabled:
            gc.enable()


def _import_structlog() -> None:
    """Import structlog without Rich, which other modules can still import afterwards."""
    if "structlog" in sys.modules or "rich" in sys.modules:
        return
    # An import of a module that is `None` here raises `ImportError`.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]
