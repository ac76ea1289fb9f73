"""How long to wait before the next attempt: twice as long after each one, up to a limit."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Backoff:
    """Seconds. `delay` is the next wait."""

    first: float
    longest: float
    delay: float = 0.0

    def __post_init__(self) -> None:
        self.delay = self.first

    def grow(self) -> None:
        """Note that `delay` was waited for."""
        self.delay = min(self.delay * 2, self.longest)

    def reset(self) -> None:
        """Begin again with the first wait: an attempt has succeeded for long enough."""
        self.delay = self.first
