"""A process of a template ends as every program does, and the template survives what the system refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def run(case: str, folder: Path) -> None:
    """Run one case of `template_program`, and expect that it holds."""
    command = [sys.executable, "-m", "tests.service.transports.template_program", case, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_handlers_of_the_end_run_in_a_process_of_a_template(tmp_path: Path) -> None:
    run("exit_handlers", tmp_path)
    assert (tmp_path / "handled").exists(), "the log could lose its last lines"


def test_a_template_makes_processes_again_after_the_system_refused_many(tmp_path: Path) -> None:
    run("no_processes_left", tmp_path)


def test_an_exit_code_is_known_where_the_ends_of_children_were_ignored(tmp_path: Path) -> None:
    run("ignored_ends_of_children", tmp_path)


def test_a_template_that_has_ended_is_not_killed_again(tmp_path: Path) -> None:
    run("closed_twice", tmp_path)
