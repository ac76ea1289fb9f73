"""Small programs with a template of processes, each a process of its own: `python -m MODULE NAME FOLDER`.

A test cannot fork a template itself, because the process of the tests has threads.
"""

from __future__ import annotations

import asyncio
import atexit
import errno
import os
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.process.child_process import ChildProcess
from oauth_core.process.process_template import ProcessTemplate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from oauth_core.process.process_template import Program

CODE = 7
_FAILURES = 40
_FILES = 24


def _ends(_arguments: Sequence[str], _variables: Mapping[str, str]) -> int:
    return CODE


async def _run(template: ProcessTemplate) -> int:
    """Run the program of the template to its end; return its exit code."""
    await template.wait_until_loaded()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = ChildProcess.of_template(template.start((), {}, theirs.fileno(), "SOCKET"))
    return await process.ended


def _forked(load: Callable[[], Program]) -> ProcessTemplate:
    template = ProcessTemplate.fork(load)
    assert template is not None
    return template


def exit_handlers(folder: Path) -> None:
    """The program has a handler for its end, as the log has."""

    def program(_arguments: Sequence[str], _variables: Mapping[str, str]) -> int:
        atexit.register((folder / "handled").touch)
        return CODE

    template = _forked(lambda: program)
    assert asyncio.run(_run(template)) == CODE
    template.close()


def no_processes_left(_folder: Path) -> None:
    """The system refuses forks of the template, more often than it may have files open; then it allows them."""

    def load() -> Program:
        fork = os.fork
        refused: list[int] = []

        def refusing() -> int:
            if len(refused) < _FAILURES:
                refused.append(1)
                raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            return fork()

        os.fork = refusing
        resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
        return _ends

    template = _forked(load)
    faults = []
    for _ in range(_FAILURES):
        try:
            asyncio.run(_run(template))
        except OSError as error:
            faults.append(error.errno)
    assert faults == [errno.EAGAIN] * _FAILURES
    assert asyncio.run(_run(template)) == CODE
    template.close()


def ignored_ends_of_children(_folder: Path) -> None:
    """The process that started this one ignores the ends of its children, and this one inherits that."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    template = _forked(lambda: _ends)
    assert asyncio.run(_run(template)) == CODE
    template.close()


def closed_twice(_folder: Path) -> None:
    """When the template has ended, its number may be that of another process."""
    template = _forked(lambda: _ends)
    asyncio.run(template.wait_until_loaded())
    template.close()
    killed: list[int] = []
    os.kill = lambda pid, _signal: killed.append(pid)
    template.close()
    assert killed == []


CASES = {
    case.__name__: case for case in (exit_handlers, no_processes_left, ignored_ends_of_children, closed_twice)
}

if __name__ == "__main__":
    CASES[sys.argv[1]](Path(sys.argv[2]))
