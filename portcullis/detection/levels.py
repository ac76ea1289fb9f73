"""The levels of detection rules, and of the alerts about their findings."""

from __future__ import annotations

LEVELS = ("critical", "high", "medium", "low", "informational")
"""The most severe one first."""


def reaches(level: str, lowest: str) -> bool:
    """Return whether `level` is at least as severe as `lowest`."""
    return LEVELS.index(level) <= LEVELS.index(lowest)
