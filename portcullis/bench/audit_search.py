"""Measures `portcullis audit search`, as a command, in a record of made events (`made_copies`)."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from portcullis.bench.made_copies import MadeCopies

GOAL_SECONDS = 2.0
"""The most time for one person's month, on two cores that do nothing else."""
_SECONDS = 600.0


class SearchError(Exception):
    """The search failed, or did not find what is there. The message says which."""


@dataclass(frozen=True, slots=True)
class Search:
    """The fastest of some searches: times in seconds, of the start of the command too."""

    seconds: float
    processor: float
    """Processor time of all its threads."""

    @property
    def verdict(self) -> str:
        """The goal, beside the time."""
        missing = self.seconds - GOAL_SECONDS
        return "the goal holds" if missing <= 0 else f"{missing:.2f} s more than the goal of {GOAL_SECONDS:.0f} s"


def measure(audit_dir: Path, made: MadeCopies, user: str, rounds: int) -> Search:
    """Search for one person's events of all days `rounds` times. Raises `SearchError`."""
    arguments = ["--audit-dir", str(audit_dir), "--user", user, "--since", made.since, "--until", made.until]
    command = [sys.executable, "-P", "-m", "portcullis", "audit", "search", *arguments, "--json"]
    found = []
    for _ in range(rounds):
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(command, check=False, capture_output=True, timeout=_SECONDS)  # noqa: S603
        seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise SearchError(f"the search failed: {done.stderr.decode('utf-8', 'replace').strip()[-500:]}")
        if (count := done.stdout.count(b"\n")) != made.of_person:
            raise SearchError(f"{count} events were found instead of {made.of_person}")
        found.append(Search(seconds, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime))
    return min(found, key=lambda one: one.seconds)
