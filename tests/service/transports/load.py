"""Calls without a pause from several threads, each of which must be answered."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE = 60.0


@dataclass
class Tally:
    """How many calls succeeded, and the results of the others."""

    good: int = 0
    bad: list[str] = field(default_factory=list)

    def wait_for(self, more: int) -> None:
        """Return when `more` further calls have been answered."""
        wanted, deadline = self.good + more, time.monotonic() + _PATIENCE
        while self.good < wanted:
            assert time.monotonic() < deadline, f"{self.good} of {wanted}; {self.bad[:3]}"
            time.sleep(0.01)


@contextmanager
def calling(call: Callable[[], str | None], *, threads: int = 4) -> Iterator[Tally]:
    """Repeat the call until the block ends. `call` returns `None`, or the error."""
    tally, lock, over = Tally(), threading.Lock(), threading.Event()

    def go() -> None:
        while not over.is_set():
            try:
                wrong = call()
            except Exception as error:  # noqa: BLE001 - whatever it is, the call was lost
                wrong = f"{type(error).__name__}: {error}"
            with lock:
                if wrong is None:
                    tally.good += 1
                else:
                    tally.bad.append(wrong)
            if wrong is not None:
                time.sleep(0.01)

    workers = [threading.Thread(target=go) for _ in range(threads)]
    for worker in workers:
        worker.start()
    try:
        yield tally
    finally:
        over.set()
        for worker in workers:
            worker.join()
