"""The progress of long work, on standard error: a line every five seconds, and none for short work."""

from __future__ import annotations

import time

import click

_EVERY = 5.0


class Progress:
    """Prints how many records are done. `done` is the verb at the beginning of the line."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._begun = self._reported_at = time.monotonic()

    def report(self, count: int) -> None:
        """Print that `count` records are done, unless the last line was printed less than five seconds ago."""
        now = time.monotonic()
        if now - self._reported_at >= _EVERY:
            self._reported_at = now
            click.echo(f"{self._done}: {count} records in {now - self._begun:.0f} s", err=True)
