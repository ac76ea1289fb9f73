"""A child process that the supervisor can start quickly, and the file that marks it as ready."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path  # noqa: TC003 - dataclasses read it

from portcullis.supervisor.child import Timing

QUICK = Timing(
    start=60,
    slow_start=60,
    wait=60,
    probe_again=0.02,
    first_backoff=0.05,
    longest_backoff=0.2,
    stable_seconds=60,
    stop=0.5,
)
SLEEPER = "import sys, time; open(sys.argv[1], 'w').close(); time.sleep(600)"


@dataclass(frozen=True)
class FileProbe:
    """Ready once the child has made a file. The file is then deleted, so that each start must make its own."""

    path: Path

    async def __call__(self) -> str | None:
        if not self.path.exists():
            return "no file"
        self.path.unlink()
        return None
