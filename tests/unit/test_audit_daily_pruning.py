"""The sealer starts the deletion of the settings at once and each day, and an hour after one that failed."""

from __future__ import annotations

import sys
from pathlib import Path

from portcullis.audit.daily_pruning import AGAIN_SECONDS, DAY_SECONDS, DailyPruning, prune_command
from tests.support.programs import until


class Runs:
    """Runs of a command that writes a line into a file, by a clock that the test moves."""

    def __init__(self, folder: Path, *, status: int = 0) -> None:
        self._file = folder / "runs"
        text = f"import sys; open({str(self._file)!r}, 'a').write('x'); sys.exit({status})"
        self.now = 0.0
        self.reports: list[str] = []
        self.pruning = DailyPruning((sys.executable, "-c", text), self.reports.append, clock=lambda: self.now)

    def count(self) -> int:
        """How often the command has run."""
        return len(self._file.read_text()) if self._file.exists() else 0

    def finish(self) -> None:
        """Let a run end, and the sealer see that."""

        def is_over() -> bool:
            self.pruning.step()
            return self.pruning.is_idle

        until(is_over, "the run has ended")


def test_it_runs_at_once_and_again_after_a_day(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.pruning.step()
    runs.finish()
    assert runs.count() == 1
    runs.now += DAY_SECONDS - 1
    runs.pruning.step()
    assert runs.pruning.is_idle
    runs.now += 1
    runs.pruning.step()
    runs.finish()
    assert (runs.count(), runs.reports) == (2, [])


def test_after_a_failure_it_says_so_and_runs_an_hour_later(tmp_path: Path) -> None:
    runs = Runs(tmp_path, status=1)
    runs.pruning.step()
    runs.finish()
    assert "exit code 1" in runs.reports[0]
    runs.now += AGAIN_SECONDS
    runs.pruning.step()
    runs.finish()
    assert runs.count() == 2


def test_a_program_that_cannot_be_started_is_reported(tmp_path: Path) -> None:
    reports: list[str] = []
    DailyPruning((str(tmp_path / "none"),), reports.append).step()
    assert "cannot be started" in reports[0]


def test_a_run_is_ended_with_the_sealer(tmp_path: Path) -> None:
    pruning = DailyPruning((sys.executable, "-c", "import time; time.sleep(3600)"), print)
    pruning.step()
    assert not pruning.is_idle
    pruning.stop()
    pruning.step()
    assert pruning.is_idle


def test_without_a_limit_there_is_nothing_to_run() -> None:
    place = (Path("/audit"), Path("/key"))
    assert prune_command(*place, keep_days=None, keep_bytes=None) is None
    both = prune_command(*place, keep_days=400, keep_bytes=5)
    assert both is not None
    assert both[-7:] == (
        "--older-than",
        "400d",
        "--keep-size",
        "5",
        "--yes",
        "--reason",
        "retention by the settings",
    )
