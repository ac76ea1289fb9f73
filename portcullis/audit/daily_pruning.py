"""Retention by the settings: the sealer starts `portcullis audit prune` each day, as a process of its own.

So a long deletion delays no checkpoint, and a fault in it ends no sealer.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

DAY_SECONDS = 86_400.0
AGAIN_SECONDS = 3600.0
"""Seconds until another attempt after a run that could not delete everything."""

_STOP_SECONDS = 3.0


def prune_command(
    audit_dir: Path, key: Path, *, keep_days: int | None, keep_bytes: int | None
) -> tuple[str, ...] | None:
    """Return the command that deletes what these settings do not keep; `None` if they keep everything."""
    limits = (
        *(() if keep_days is None else ("--older-than", f"{keep_days}d")),
        *(() if keep_bytes is None else ("--keep-size", str(keep_bytes))),
    )
    if not limits:
        return None
    place = ("--audit-dir", str(audit_dir), "--key-file", str(key))
    # Without -P Python would import modules from the current folder.
    program = (sys.executable, "-P", "-m", "portcullis", "audit", "prune")
    return (*program, *place, *limits, "--yes", "--reason", "retention by the settings")


class DailyPruning:
    """Runs a command at once and then each day; after a failure, an hour later."""

    def __init__(
        self,
        command: Sequence[str],
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = command
        self._report = report
        self._clock = clock
        self._due = clock()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no run is under way, as far as `step` has seen."""
        return self._process is None

    def step(self) -> None:
        """Start the command if it is due, and look whether it has ended. Does not wait, and raises nothing."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process = None
            self._due = self._clock() + (AGAIN_SECONDS if status else DAY_SECONDS)
            if status:
                self._report(f"`audit prune` has not deleted everything (exit code {status}); trying in an hour")
        elif self._clock() >= self._due:
            try:
                # Its output is for the log of the sealer.
                self._process = subprocess.Popen(  # noqa: S603 - our own program, without a shell
                    self._command, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno()
                )
            except OSError as error:
                self._due = self._clock() + AGAIN_SECONDS
                self._report(f"`audit prune` cannot be started: {error.strerror}; trying in an hour")

    def stop(self) -> None:
        """End a run; the next one finishes what it has begun."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
