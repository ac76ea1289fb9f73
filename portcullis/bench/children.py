"""Programs that a run starts: each in its own process, ended with the run whatever happens, its errors kept."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.process.child_process import start_for_thread
from portcullis.bench.generator import GeneratorError, connect
from portcullis.supervisor.environment import search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

START_SECONDS = 30.0
_STOP_SECONDS = 10.0
_LAST_BYTES = 2000


class BenchFixtureError(Exception):
    """Something that a run needs is missing or does not start. The message is readable."""


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    is_ready: Callable[[], bool],
) -> Iterator[int]:
    """Run a program until the block ends; yields its process id once `is_ready`. Raises `BenchFixtureError`.

    Its standard output is discarded, because writing it to a disk would be measured too; errors are kept.
    """
    errors = folder / f"{name}.err"
    with errors.open("wb") as file:
        process = start_for_thread(command, environment, errors=file)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                state = "does not get ready" if process.poll() is None else f"ended with {process.returncode}"
                said = errors.read_text(encoding="utf-8", errors="replace")[-_LAST_BYTES:].strip()
                raise BenchFixtureError(f"{name} {state}" + (f": {said}" if said else ""))
            time.sleep(0.02)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def listens(address: str) -> bool:
    """Whether a server accepts connections at `address`."""
    with contextlib.suppress(GeneratorError):
        connect(address).close()
        return True
    return False


def find(names: Sequence[str], environ: Mapping[str, str], *, hint: str) -> str:
    """The first of the programs `names` on PATH, or beside this Python. Raises `BenchFixtureError` with `hint`."""
    path = search_path(environ)
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    raise BenchFixtureError(f"{' or '.join(names)} is not on PATH: {hint}")


def is_there(names: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether `find` would find one of the programs `names`."""
    try:
        find(names, environ, hint="")
    except BenchFixtureError:
        return False
    return True
