"""Runs our programs as forks of a process that has imported them: an import takes longer than most tests.

A fork runs what `python -m NAME` runs, with its own arguments, environment and files. The tests of whole
gateways start every program in a new process, as users do.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from multiprocessing.process import BaseProcess

_PATIENCE = 240.0
"""Seconds; only to end a program that hangs."""
_READ_EARLY = ("LD_", "PYTHON")
"""Variables that the loader and the interpreter read before any import: these need a new process."""
_FORKS = multiprocessing.get_context("forkserver")
# Mainly libraries; no module of ours that reads its environment when it is imported.
_FORKS.set_forkserver_preload(
    [
        "oauth_web.program",
        "ext_authz.program",
        "ext_authz.process.worker",
        "portcullis.cli.main",
        "portcullis.github_standin.app",
        "portcullis.cli.operator_commands",
        "portcullis.commands.audit_key",
        "portcullis.commands.audit_seal",
        "portcullis.commands.audit_verify",
        "portcullis.commands.backup",
        "portcullis.commands.clients",
        "portcullis.commands.config",
        "portcullis.commands.policy",
    ]
)


class _Streams(NamedTuple):
    """The contents of standard input, and the output files."""

    given: str
    out: str
    err: str


class Fork:
    """A program in a fork, with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, process: BaseProcess, arguments: Sequence[str]) -> None:
        assert process.pid is not None
        self.pid = process.pid
        self._process = process
        self._arguments = arguments

    def poll(self) -> int | None:
        """The exit code, or `None` while the program runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the program and return its exit code. Raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the program has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask the program to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the program at once."""
        self.send_signal(signal.SIGKILL)


def start(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path, folder: Path | None = None
) -> Fork:
    """Start the program with its output in `log`, in `folder` if there is one. The caller ends it."""
    process = _started(module, arguments, environment, _Streams("", str(log), str(log)), folder)
    return Fork(process, [module, *arguments])


@contextmanager
def running(module: str, *arguments: str, environment: Mapping[str, str], log: Path) -> Iterator[Fork]:
    """Run the program until the block ends, with its output in `log`. At the end it is stopped."""
    program = start(module, *arguments, environment=environment, log=log)
    try:
        yield program
    finally:
        program.terminate()
        try:
            program.wait(60)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


def run(
    module: str, *arguments: str, environment: Mapping[str, str], given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run the program to its end; `given` is its standard input."""
    with tempfile.TemporaryDirectory(prefix="run-") as name:
        out, err = Path(name) / "out", Path(name) / "err"
        process = _started(module, arguments, environment, _Streams(given, str(out), str(err)))
        process.join(_PATIENCE)
        code = process.exitcode
        if code is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([module, *arguments], _PATIENCE, err.read_text(encoding="utf-8"))
        process.close()
        texts = [path.read_text(encoding="utf-8") for path in (out, err)]
        return subprocess.CompletedProcess([module, *arguments], code, *texts)


def _started(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: _Streams,
    folder: Path | None = None,
) -> BaseProcess:
    for path in streams[1:]:
        Path(path).touch()
    given = (module, arguments, dict(environment), streams, folder)
    process = _FORKS.Process(target=_become, args=given, daemon=True)
    process.start()
    return process


def _become(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    streams: _Streams,
    folder: Path | None,
) -> None:
    """Become that program, in the fork."""
    os.setsid()  # a signal to the process group of the tests does not reach it
    if folder is not None:
        os.chdir(folder)
    with tempfile.TemporaryFile() as typed:
        typed.write(streams.given.encode())
        typed.seek(0)
        os.dup2(typed.fileno(), 0)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - for as long as the program runs
    for place, path in ((1, streams.out), (2, streams.err)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, place)
        os.close(file)
    if any(name.startswith(_READ_EARLY) for name in environment):
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], environment)  # noqa: S606
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
