"""The stream of log lines: a renamed file is followed, and on a full disk no line is split or written twice."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# In a separate process, because standard output and standard error are replaced.
_PRELUDE = """
import json, os, resource, signal, sys, time
from pathlib import Path
from oauth_core.process import log_stream
from oauth_core.process.log_stream import LogStream, PartlyWrittenError, StalledError
log_stream._LOOK_SECONDS = 0.0
path = Path(sys.argv[1])
"""


def run(path: Path, code: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PRELUDE + code, str(path)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr + (path.read_text() if path.exists() else "")
    return done


def test_after_a_rename_all_output_goes_to_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    run(
        path,
        """
stream = LogStream(path)
stream.write("one\\n")
path.rename(path.with_suffix(".log.1"))
stream.write("two\\n")
print("printed", flush=True)
print("an error", file=sys.stderr, flush=True)
""",
    )
    assert path.with_suffix(".log.1").read_text() == "one\n"
    assert path.read_text() == "two\nprinted\nan error\n"
    assert path.stat().st_mode & 0o077 == 0


def test_the_old_file_is_used_while_no_new_one_can_be_made(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    run(
        folder / "x.log",
        """
stream = LogStream(path)
stream.write("one\\n")
path.parent.rename(path.parent.with_name("away"))
stream.write("two\\n")
""",
    )
    assert (tmp_path / "away/x.log").read_text() == "one\ntwo\n"


@pytest.mark.parametrize("room", [0, 1, 7, 8, 9, 16, 20, 79, 80])
def test_on_a_full_disk_no_line_is_split_lost_or_written_twice(tmp_path: Path, room: int) -> None:
    path = tmp_path / "x.log"
    run(
        path,
        f"""
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
stream = LogStream(path)
resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, resource.RLIM_INFINITY))
lines = [f"line {{n:02}}\\n" for n in range(10)]
for attempt in range(3):
    try:
        stream.write("".join(lines))
        lines = []
        break
    except PartlyWrittenError as error:
        del lines[:error.lines]
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
stream.write("".join(lines))
stream.write("last\\n")
""",
    )
    assert path.read_text().splitlines() == [*(f"line {n:02}" for n in range(10)), "last"]


def test_several_processes_on_one_pipe_do_not_mix_their_lines(tmp_path: Path) -> None:
    code = """
from threading import Event
stream = LogStream(descriptor=1)
for batch in range(20):
    stream.write("".join(json.dumps({"who": sys.argv[1], "text": "x" * 700}) + "\\n" for _ in range(20)))
stream.close()
"""
    reading, writing = os.pipe()
    writers = [
        subprocess.Popen([sys.executable, "-c", _PRELUDE + code, str(number)], stdout=writing)
        for number in range(3)
    ]
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        lines = [json.loads(line)["who"] for line in pipe]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert {who: lines.count(who) for who in "012"} == {"0": 400, "1": 400, "2": 400}


def test_with_a_stalled_reader_lines_are_refused_and_accepted_ones_are_kept(tmp_path: Path) -> None:
    code = """
log_stream.STALLED_SECONDS = 0.0
stream = LogStream(descriptor=1)
accepted = 0
try:
    while True:
        stream.write(f"{accepted}\\n" + "x" * 1000 + "\\n")
        accepted += 1
except StalledError:
    sys.stderr.write(f"{accepted}\\n")
    sys.stderr.flush()
stream.close()
"""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", _PRELUDE + code, "x"], stdout=writing, stderr=subprocess.PIPE, text=True
    )
    os.close(writing)
    assert process.stderr is not None
    accepted = int(process.stderr.readline())
    with os.fdopen(reading, encoding="utf-8") as pipe:
        numbers = [line.strip() for line in pipe if not line.startswith("x")]
    assert numbers == [str(number) for number in range(accepted)]
    assert process.wait(60) == 0
    process.stderr.close()
