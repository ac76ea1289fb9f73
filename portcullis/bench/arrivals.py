"""The moments at which an open loop sends its requests: at a fixed rate, whatever the server does.

A closed loop waits for a slow answer before it asks again, so a stall of a second costs it one slow sample and
hides the thousand requests that would have come meanwhile. Here every request has its moment beforehand, and
its latency counts from that moment, so every request that the stall would have delayed shows it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The moments of one process out of `processes` that share `rate` requests a second between them.

    Process number `number` (from 0) takes every `processes`-th moment; together they are evenly spaced.
    """

    start: float
    rate: float
    number: int = 0
    processes: int = 1

    def due(self, index: int) -> float:
        """The moment at which this process means to send its request number `index`, from 0; in seconds."""
        return self.start + (index * self.processes + self.number) / self.rate

    def before(self, moment: float) -> int:
        """How many of its requests are due before `moment`."""
        index = max(0, int(((moment - self.start) * self.rate - self.number) / self.processes))
        # The division may round either way; `due` decides.
        while index > 0 and self.due(index - 1) >= moment:
            index -= 1
        while self.due(index) < moment:
            index += 1
        return index
