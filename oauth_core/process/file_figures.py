"""Reads figures from files without making a program wait for a disk that does not answer."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from oauth_core.process.metrics import Figures

_PATIENCE_SECONDS = 2.0
"""Less than the time that Prometheus gives a scrape."""


class FileFigures:
    """Calls functions that read files, in a thread of its own.

    There is one thread at most, however often a scrape finds a disk silent, and it does not keep the process from
    ending.
    """

    def __init__(self, *readers: Callable[[], Figures]) -> None:
        """The `readers` raise no errors."""
        self._readers = readers
        self._thread: threading.Thread | None = None

    async def read(self) -> Figures:
        """Return the figures of all readers, or none while a disk does not answer."""
        if self._thread is not None and self._thread.is_alive():
            return {}
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Figures] = loop.create_future()

        def resolve(found: Figures) -> None:
            if not done.done():
                done.set_result(found)

        def run() -> None:
            found: Figures = {}
            for reader in self._readers:
                found |= reader()
            with suppress(RuntimeError):  # the loop is closed: the program has ended
                loop.call_soon_threadsafe(resolve, found)

        self._thread = threading.Thread(target=run, name="file figures", daemon=True)
        self._thread.start()
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await done
        except TimeoutError:
            return {}
