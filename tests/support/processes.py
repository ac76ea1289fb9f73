"""Processes of this machine: whether they run, and which descend from another. Linux only: it reads `/proc`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_PARENT, _STARTED = 1, 19
"""Fields of `/proc/<pid>/stat`, counted from the state, which follows the name."""


@dataclass(frozen=True)
class Process:
    """One process. Its start time distinguishes it from a later one with the same number."""

    pid: int
    started: int
    name: str


def below(pid: int) -> set[Process]:
    """Every process that descends from `pid`; empty without `/proc`."""
    parents = {process: parent for process, parent in _all().items() if parent}
    found: set[Process] = set()
    wave = {pid}
    while wave:
        children = {process for process, parent in parents.items() if parent in wave} - found
        found |= children
        wave = {process.pid for process in children}
    return found


def still_there(processes: set[Process]) -> set[Process]:
    """Those of `processes` that have not ended."""
    return processes & _all().keys()


def _all() -> dict[Process, int]:
    """Every running process of this machine, with its parent."""
    found: dict[Process, int] = {}
    for entry in _PROC.glob("[0-9]*/stat"):
        try:
            head, _, tail = entry.read_text(encoding="utf-8", errors="replace").rpartition(")")
        except OSError:
            continue  # it ended in the meantime
        fields = tail.split()
        if fields[0] != "Z":
            process = Process(int(entry.parent.name), int(fields[_STARTED]), head.partition("(")[2])
            found[process] = int(fields[_PARENT])
    return found


def alive(pid: int) -> bool:
    """Whether a process runs. A process that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def children_of(pid: int) -> list[int]:
    """The direct children of a process."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text(encoding="ascii").split()] if path.exists() else []


def descendants_of(pid: int) -> list[int]:
    """All processes below a process."""
    below = children_of(pid)
    return below + [deeper for child in below for deeper in descendants_of(child)]


def command_line(pid: int) -> str:
    """The arguments of a process, joined by spaces."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
