"""Runs a command that dies with its parent: `launch.py PARENT COMMAND ...`, started by file name.

It is a separate small program, because the child itself must ask for the kernel's parent-death signal, and code
between fork and exec in a process with threads is not safe. It imports only the standard library, so that Python
starts it in a few milliseconds with `-I -S`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_NOT_FOUND = 127


def wrap(command: list[str]) -> list[str]:
    """Return the arguments that run `command` so that it is killed when this process dies, however it dies.

    Must be spawned from the main thread: the kernel watches the thread that made the child.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def adopt_orphans() -> None:
    """Make orphans below this process its children from now on (Linux only)."""
    if sys.platform == "linux":
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def kill_children() -> None:
    """Kill every child of this process and, once adopted, theirs, also outside of its process group."""
    while pids := _children():
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
            except (ProcessLookupError, ChildProcessError):
                continue


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:  # noqa: PTH123 - see above
            return [int(pid) for pid in file.read().split()]
    except OSError:
        return []


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def end_with_parent(parent: int) -> None:
    """Have this process killed when `parent` dies. Exits with 1 if another process is its parent already."""
    if sys.platform == "linux":
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main(parent: int, command: list[str]) -> None:
    """Ask for the signal, check that the parent still runs, and become `command`."""
    end_with_parent(parent)
    # Python ignores this signal; a child that is no Python program expects the default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - that there is no shell is the point
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(_NOT_FOUND)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
