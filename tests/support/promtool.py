"""Prometheus' own checker of rules, from PATH or from the environment of the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable

PROMTOOL = shutil.which("promtool") or shutil.which("promtool", path=Path(sys.executable).parent)

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="no promtool: tests/programs.sh unpacks it on Debian")


def failures_of(folder: Path, case: dict[str, Any]) -> str:
    """Run a file of tests with this content. Return the report of failures, empty if there are none."""
    (folder / "case.yaml").write_text(yaml.safe_dump(case), encoding="utf-8")
    return _run("test", "rules", str(folder / "case.yaml"))


def check_expressions(folder: Path, expressions: Iterable[str]) -> str:
    """Check that these are expressions of PromQL. Return the report of failures."""
    rules = [{"record": f"expression:{number}", "expr": text} for number, text in enumerate(expressions)]
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    return check_rules(folder / "rules.yaml")


def check_rules(path: Path) -> str:
    """Check a file of rules. Return the report of failures."""
    return _run("check", "rules", str(path))


def _run(*arguments: str) -> str:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], capture_output=True, check=False, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr
