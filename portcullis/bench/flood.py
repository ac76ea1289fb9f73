"""The effect of a flood on valid callers: the same open loop, without and with a flood beside it.

Forged tokens name our key and have a wrong signature, each a different one, so the server must verify every one.
Distinct tokens are valid and were never seen. Huge headers carry credentials of twelve kilobytes. The generator of
the flood has a lower priority than all other processes: a real flood comes from another machine.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from oauth_core.crypto import base64url
from portcullis.bench import process_group
from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.generator import GeneratorError
from portcullis.bench.pool import Entry, Pool, write
from portcullis.bench.runner import PERCENTILES, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from portcullis.bench.fixture import BenchFixture
    from portcullis.bench.plan import Load, Tally
    from portcullis.bench.runner import RunPlan
    from portcullis.bench.target import MeasuredService

KINDS = ("garbage", "distinct", "headers")
TOKENS = 40_000
"""Distinct tokens of a flood; after that many they are sent again."""

_REFUSED = ("refused with 401", "HTTP status 401")
_BUSY = ("refused with 503", "HTTP status 503")
_SIGNATURE_BYTES = 64
_HUGE_BYTES = 9000
_FEW = 200
_P99 = PERCENTILES["p99"]
_AHEAD = 0.5
"""Seconds by which the flood begins before the measurement and ends after it."""

_NICE = 10


@dataclass
class Flooded:
    """The measurements of valid callers, and the answers to the flood."""

    kind: str
    rate: float
    quiet: list[Tally] = field(default_factory=list)
    flooded: list[Tally] = field(default_factory=list)
    flood: list[Tally] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether every valid caller was let through, and no forged token."""
        expected = {ALLOWED, *_BUSY} if self.kind == "distinct" else {*_REFUSED, *_BUSY}
        return (
            not any(tally.wrong for tally in (*self.quiet, *self.flooded))
            and all(tally.answers for tally in (*self.quiet, *self.flooded, *self.flood))
            and self._flood_verdicts.keys() <= expected
        )

    @property
    def _flood_verdicts(self) -> Counter[str]:
        return sum((tally.verdicts for tally in self.flood), Counter())

    @property
    def _p99_ratio(self) -> float:
        """The median of each round's own; 0 where nothing was answered."""
        pairs = [
            (flooded.latency.percentile(_P99), quiet.latency.percentile(_P99))
            for flooded, quiet in zip(self.flooded, self.quiet, strict=True)
        ]
        return median([flooded / quiet for flooded, quiet in pairs if flooded and quiet] or [0.0])

    def summary(self) -> dict[str, Any]:
        """As JSON-ready data; latencies in milliseconds, medians of the rounds."""
        quiet, flooded = _latency(self.quiet), _latency(self.flooded)
        return {
            "kind": self.kind,
            "sound": self.is_sound,
            "rate": self.rate,
            "flood_rate": median(tally.answers / tally.seconds for tally in self.flood),
            "flood_answers": dict(self._flood_verdicts),
            "quiet_ms": quiet,
            "flooded_ms": flooded,
            "p99_ratio": self._p99_ratio,
            "missed": sum(tally.missed for tally in self.flooded),
            "wrong": dict(sum((Counter(tally.wrong) for tally in self.flooded), Counter())),
        }


def measure(
    kind: str,
    service: MeasuredService,
    fixture: BenchFixture,
    plan: RunPlan,
    progress: Callable[[str], None],
) -> Flooded:
    """Measure valid callers at the rate of `plan`, in turns without and with a flood.

    Raises `GeneratorError`.
    """
    seen = Flooded(kind, plan.rate)
    callers = load(service, plan, mode="open", seconds=plan.seconds)
    callers = replace(callers, warm_up=plan.warm_up)
    flood = _load(kind, service, fixture, plan)
    for number in range(plan.rounds):
        # Every other round goes backwards, as those of services do.
        for is_flooded in (number % 2 == 1, number % 2 == 0):
            state = "flooded" if is_flooded else "quiet"
            progress(f"flood of {kind}, round {number + 1} of {plan.rounds}: {state}")
            if not is_flooded:
                seen.quiet.append(process_group.run(callers))
                continue
            sent = _Flood(_share(flood, number, plan.rounds))
            try:
                seen.flooded.append(process_group.run(callers))
            finally:
                seen.flood.append(sent.result())
    return seen


class _Flood:
    """A load in a thread. The constructor returns once the load runs."""

    def __init__(self, share: Load) -> None:
        self._result: Tally | GeneratorError | None = None
        begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(share, begun))
        self._thread.start()
        begun.wait()

    def _run(self, share: Load, begun: threading.Event) -> None:
        try:
            self._result = process_group.run(share, begun=begun.set)
        except GeneratorError as error:
            self._result = error
        finally:
            begun.set()

    def result(self) -> Tally:
        """Wait for its end and return its counts. Raises `GeneratorError`."""
        self._thread.join()
        if self._result is None or isinstance(self._result, GeneratorError):
            raise self._result or GeneratorError("the flood did not run")
        return self._result


def _load(kind: str, service: MeasuredService, fixture: BenchFixture, plan: RunPlan) -> Load:
    """The load of the flood: always as many requests under way as the callers' connections allow."""
    pool, first, last = service.pool, plan.tokens, plan.tokens + TOKENS
    if kind != "distinct":
        pool, first, last = fixture.folder / f"flood-{kind}", 0, TOKENS if kind == "garbage" else _FEW
        write(pool, _forged(service.pool, last) if kind == "garbage" else _huge(last))
    base = load(service, plan, mode="closed", seconds=plan.seconds + plan.warm_up + 2 * _AHEAD)
    target = replace(service.target, identity=False)
    return replace(base, target=target, pool=pool, first=first, last=last, warm_up=_AHEAD, rate=0.0, nice=_NICE)


def _share(flood: Load, number: int, rounds: int) -> Load:
    """The tokens of one round, so that those of a later round were not seen in an earlier one."""
    count = flood.last - flood.first
    return replace(
        flood, first=flood.first + count * number // rounds, last=flood.first + count * (number + 1) // rounds
    )


def _forged(pool: Path, count: int) -> Iterator[Entry]:
    """The first two parts of a valid token, each time with another random signature."""
    known = Pool(pool)
    head, payload, _ = known[0].token.split(b".")
    known.close()
    for _ in range(count):
        signature = base64url.encode(os.urandom(_SIGNATURE_BYTES)).encode()
        yield Entry(b".".join((head, payload, signature)), b"-", b"-")


def _huge(count: int) -> Iterator[Entry]:
    for _ in range(count):
        yield Entry(base64url.encode(os.urandom(_HUGE_BYTES)).encode(), b"-", b"-")


def _latency(tallies: list[Tally]) -> dict[str, float | None]:
    medians: dict[str, float | None] = {}
    for name, share in PERCENTILES.items():
        values = [value for tally in tallies if (value := tally.latency.percentile(share)) is not None]
        medians[name] = median(values) if values else None
    return medians
