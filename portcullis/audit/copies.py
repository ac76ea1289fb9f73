"""Copies of checkpoints outside the audit folder: in a file, by a webhook, and what sends the newest one anywhere.

A copy out of an attacker's reach shows a roll-back of the whole folder: the tree must still begin with the tree of
the copy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.process import private_files
from oauth_core.process.backoff import Backoff
from portcullis.audit.sealed_folder import append_note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portcullis.audit.monitoring import MonitorCounts
    from portcullis.audit.timestamps import StampCounts

_TIMEOUT_SECONDS = 10.0
_FIRST_WAIT = 1.0
_LONGEST_WAIT = 60.0
_SUCCESS = 200
_REDIRECT = 300


@dataclass(slots=True)
class CopyCounts:
    """The figures of copies: of time stamps, if an authority is asked, and of each monitor by its host."""

    stamps: StampCounts | None = None
    monitors: dict[str, MonitorCounts] = field(default_factory=dict)


class FileCopy:
    """Keeps copies at `path`. In a folder: one file for each day, one checkpoint for each minute, appended.

    Otherwise the newest checkpoint replaces the file.
    """

    def __init__(self, path: Path, report: Callable[[str], None]) -> None:
        self._path = path
        self._report = report
        self._minute = ""
        self._is_failing = False

    def publish(self, note: str, time: str) -> None:
        """Store a note; `time` is that of its checkpoint. A fault is reported, once until it is over."""
        try:
            if not self._path.is_dir():
                private_files.write(self._path, note)
            elif time[:16] != self._minute:
                append_note(self._path, time[:10], note)
                self._minute = time[:16]
        except OSError as error:
            if not self._is_failing:
                self._report(f"{error.filename or self._path}: {error.strerror}; trying again")
            self._is_failing = True
        else:
            self._is_failing = False


class NewestCopy:
    """Gives the newest checkpoint to `send`, from a thread of its own.

    `send` returns a fault, or `None` when the note has arrived. A note that could not be sent is sent again, after
    a wait that grows. One that waits is left out when there is a newer one, because the newer one proves more.
    """

    def __init__(
        self,
        name: str,
        send: Callable[[str], str | None],
        report: Callable[[str], None],
        *,
        pause: Callable[[], float] = lambda: 0.0,
        first_wait: float = _FIRST_WAIT,
        longest_wait: float = _LONGEST_WAIT,
    ) -> None:
        """`name` is the receiver in reports. `pause` returns the seconds until the next note may be sent."""
        self._name = name
        self._send = send
        self._report = report
        self._pause = pause
        self._backoff = Backoff(first_wait, longest_wait)
        self._condition = threading.Condition()
        self._newest: str | None = None
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def publish(self, note: str) -> None:
        """Send a note soon."""
        with self._condition:
            self._newest = note
            self._condition.notify_all()

    def stop(self, patience: float) -> None:
        """End the thread; a note that waits is tried once more. Waits at most `patience` seconds."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        self._thread.join(patience)

    def _take(self) -> tuple[str | None, bool]:
        """Wait for a note that may be sent now; return it, and whether it is the last one."""
        with self._condition:
            self._condition.wait_for(lambda: self._newest is not None or self._is_stopping)
            while (pause := self._pause()) > 0:
                if self._condition.wait_for(lambda: self._is_stopping, pause):
                    return None, True
            note, self._newest = self._newest, None
            return note, self._is_stopping

    def _put_back(self, note: str) -> None:
        """Keep a note that could not be sent, unless there is a newer one by now."""
        if self._newest is None:
            self._newest = note

    def _run(self) -> None:
        is_failing = False
        while True:
            note, is_last = self._take()
            if note is None:
                return
            fault = self._send(note)
            if fault is None:
                if is_failing:
                    self._report(f"checkpoints reach {self._name} again")
                is_failing = False
                self._backoff.reset()
                continue
            if not is_failing:
                self._report(f"{self._name} for checkpoints: {fault}; trying again")
            is_failing = True
            if is_last:
                return
            with self._condition:
                self._put_back(note)
                self._condition.wait_for(lambda: self._is_stopping, self._backoff.delay)
            self._backoff.grow()


class WebhookCopy(NewestCopy):
    """Sends checkpoints to `url` by POST. Any answer of class 2xx accepts one. Redirects are not followed."""

    def __init__(
        self,
        url: str,
        report: Callable[[str], None],
        *,
        first_wait: float = _FIRST_WAIT,
        longest_wait: float = _LONGEST_WAIT,
    ) -> None:
        super().__init__(
            "the webhook",
            lambda note: _send(url, note),
            report,
            first_wait=first_wait,
            longest_wait=longest_wait,
        )


def _send(url: str, note: str) -> str | None:
    """Send a note; return the fault, or `None`. The fault does not show the address, which may have a secret."""
    # Imported here: it takes a while, and most sealers have no webhook.
    import httpx2  # noqa: PLC0415

    try:
        answer = httpx2.post(
            url,
            content=note.encode(),
            headers={"Content-Type": "text/plain; charset=utf-8"},
            timeout=_TIMEOUT_SECONDS,
            follow_redirects=False,
        )
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
        return type(error).__name__
    return None if _SUCCESS <= answer.status_code < _REDIRECT else f"it answers {answer.status_code}"
