"""How far long work is, on standard error: now and then, and never for work that is short."""

from __future__ import annotations

import time

import click

_EVERY = 5.0


class Progress:
    """`done` is the word for what was done to so many records."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._begun = self._told = time.monotonic()

    def tell(self, count: int) -> None:
        """`count` records are done."""
        now = time.monotonic()
        if now - self._told >= _EVERY:
            self._told = now
            click.echo(f"{self._done}: {count} records in {now - self._begun:.0f} s", err=True)
