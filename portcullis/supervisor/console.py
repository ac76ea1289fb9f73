"""Prints the messages of `portcullis up`, so that a closed or blocked terminal never blocks supervision.

A thread writes, and callers only put texts into a bounded queue. While the reader takes nothing, the thread waits
and the oldest texts are dropped. If a write fails, the text is dropped, and the next one is tried: a full disk may
have room then. Every line is also written to a file in the state folder, so no message is lost with the terminal.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from oauth_core.process import private_files

if TYPE_CHECKING:
    from pathlib import Path

_MOST_WAITING = 1000
"""Texts in the queue. Above this limit, the oldest ones are dropped."""

_LAST_SECONDS = 2.0
"""How long `close` waits for a reader that takes nothing."""

_OUT, _ERR = 1, 2


class Console:
    """Standard output and standard error of this process, and a file with the texts of both."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._waiting: deque[tuple[int, str]] = deque(maxlen=_MOST_WAITING)
        self._changed = threading.Condition()
        self._closing = False
        # A daemon thread: a write that never returns must not keep the process from exiting.
        self._thread = threading.Thread(target=self._print_all, name="console", daemon=True)
        self._thread.start()

    def say(self, text: str, *, err: bool = False) -> None:
        """Print `text` and a newline in the background. Never blocks and never raises."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with suppress(OSError), open(self._record, "a", encoding="utf-8", opener=private_files.descriptor) as file:
            file.write("".join(f"{now} {line}\n" for line in text.splitlines()))
        with self._changed:
            self._waiting.append((_ERR if err else _OUT, f"{text}\n"))
            self._changed.notify()

    def close(self) -> None:
        """Wait until all texts are printed, for at most two seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)

    def _print_all(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    if self._closing:
                        return
                    self._changed.wait()
                descriptor, text = self._waiting.popleft()
            with suppress(OSError):
                _write(descriptor, text.encode("utf-8", "replace"))


def _write(descriptor: int, data: bytes) -> None:
    """Write all of `data`, and wait for the reader without a limit. Raises `OSError`."""
    # Not through sys.stdout: a thread that holds its lock would keep the interpreter from exiting.
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another program made the shared terminal or pipe non-blocking
            select.select((), (descriptor,), ())
