"""Which events are sealed: covered by the newest signed checkpoint of the audit folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Sealing:
    """How many of the shown events the newest checkpoint covers, and how many it does not."""

    sealed: int = 0
    unsealed: int = 0

    def covers(self) -> bool:
        """Return whether an event is sealed, and count it."""
        self.unsealed += 1
        return False

    def sentence(self) -> str:
        """The answer for all events that were asked about, without a full stop."""
        return "not sealed: no checkpoint"
