"""The load that one generator process makes, and the counts that it returns."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.latency import Histogram

if TYPE_CHECKING:
    from pathlib import Path

    from portcullis.bench.request_builder import Body, Kind

Mode = Literal["closed", "open", "once"]
"""`closed`: always as many under way as allowed. `open`: at a rate. `once`: closed, and each token just once."""


@dataclass(frozen=True, slots=True)
class Target:
    """The server under load: a check service (`check`) or the Envoy before it (`http`).

    `address` is `host:port` or `unix:/path`, `url` the public URL of the MCP service in question. With `identity`
    answers must name the caller; `body` is what requests contain: nothing, a call or a request for a list.
    """

    address: str
    kind: Kind
    url: str
    identity: bool = True
    body: Body = ""


@dataclass(frozen=True, slots=True)
class Load:
    """The part of one generator process, number `number` of `processes`.

    Tokens `first` up to `last` of the pool are asked with. `rate` is that of all processes together. `nice` is how
    much the generator gives way to others on this machine.
    """

    target: Target
    pool: Path
    first: int
    last: int
    connections: int
    streams: int
    mode: Mode
    seconds: float
    warm_up: float = 0.0
    rate: float = 0.0
    number: int = 0
    processes: int = 1
    nice: int = 0


@dataclass(slots=True)
class Tally:
    """The counts between the first and the last moment of the measurement.

    `verdicts` counts answers by their verdict. `missed` are requests of an open loop that had no answer
    when the time for it was over; `latency` holds them with the time they had waited, which is the least it was.
    """

    verdicts: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    missed: int = 0
    seconds: float = 0.0

    @property
    def allowed(self) -> int:
        """Answers that let the right caller through."""
        return self.verdicts[ALLOWED]

    @property
    def wrong(self) -> dict[str, int]:
        """All other answers, by what was wrong."""
        return {verdict: count for verdict, count in self.verdicts.items() if verdict != ALLOWED and count}

    @property
    def answers(self) -> int:
        """All answers."""
        return self.verdicts.total()

    def merge(self, other: Tally) -> None:
        """Take the counts of another process in; they counted over the same time."""
        self.verdicts.update(other.verdicts)
        self.latency.merge(other.latency)
        self.missed += other.missed
        self.seconds = max(self.seconds, other.seconds)
