"""The blocks of `docs/operations.md`, and functions that run them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


PAGE = ROOT / "docs" / "operations.md"
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(kind, note.strip(), text) for kind, note, text in _BLOCK.findall(PAGE.read_text(encoding="utf-8"))]
_PATIENCE = 120.0


def environment_of(folder: Path) -> dict[str, str]:
    """The environment of a user who followed the page up to the installation, with the home folder `folder`."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "REDIS_TIMEOUT": "20",
    }


def run(block: str, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Run a block in a shell that stops at the first failure. Return the environment afterwards."""
    script = f"set -eu\n{block}\nenv -0 > .environment\n"
    done = subprocess.run(
        ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{block}\n{done.stdout}\n{done.stderr}"
    left = (folder / ".environment").read_text(encoding="utf-8").split("\0")
    return {name: value for name, _, value in (line.partition("=") for line in left if line)}


@contextlib.contextmanager
def running(block: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """A block that runs until the end of the page, from its ready line on."""
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            ["sh", "-c", f"exec {block.strip()}"],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _PATIENCE
        while not any(line.startswith("ready ") for line in output.read_text(encoding="utf-8").splitlines()):
            assert process.poll() is None, output.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, output.read_text(encoding="utf-8")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
