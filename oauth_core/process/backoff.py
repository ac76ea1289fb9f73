"""The wait before the next attempt: twice as long after each one, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Times in seconds. `delay` is the next wait."""

    first: float
    longest: float
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.delay = self.first

    def grow(self) -> None:
        """Double `delay` after a wait."""
        self.delay = min(self.delay * 2, self.longest)

    def reset(self) -> None:
        """Start again with the first wait: an attempt has succeeded for long enough."""
        self.delay = self.first
