"""Processor time is that of the whole process tree, including processes that have ended."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from portcullis.bench import machine
from portcullis.bench.plan import Target
from portcullis.bench.runner import Meter
from portcullis.bench.target import MeasuredService

_BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"
# A parent that waits for one working child, reports its end, and continues to run.
_PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, '-c', {_BUSY!r}], check=True)
print('done', flush=True)
sys.stdin.read()
"""

linux = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="the processor time of other processes needs /proc"
)


@linux
def test_the_work_of_an_ended_child_counts_for_its_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        used = machine.cpu_seconds([parent.pid])
        parent.communicate()
    assert used is not None
    assert used >= 0.28


@linux
def test_the_work_of_a_running_child_counts_too() -> None:
    code = f"{_BUSY}\nprint('done', flush=True)\nimport sys\nsys.stdin.read()"
    before = machine.cpu_seconds([os.getpid()])
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = machine.cpu_seconds([os.getpid()])
        child.communicate()
    assert before is not None
    assert after is not None
    assert after - before >= 0.28


@linux
def test_memory_of_a_whole_tree_is_counted() -> None:
    code = "import sys\nkept = b'x' * 50_000_000\nprint('done', flush=True)\nsys.stdin.read()"
    before = machine.resident_bytes([os.getpid()])
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        after = machine.resident_bytes([os.getpid()])
        child.communicate()
    assert before is not None
    assert after is not None
    assert after - before >= 50_000_000


def test_without_answers_there_is_no_time_per_answer(tmp_path: Path) -> None:
    subject = MeasuredService(
        "x", Target("127.0.0.1:1", "check", "http://localhost"), tmp_path, {"service": os.getpid()}
    )
    meter = Meter(subject)
    meter.begin()
    meter.end()
    assert meter.per_answer(0) == {}


def test_the_machine_is_described() -> None:
    described = machine.describe()
    assert described["processors"] >= 1  # type: ignore[operator]
    assert all(described.values())
