"""One run: every service is measured in turns, round after round, so that a noisy minute affects all of them.

The figure of a service is the median of its rounds. A ratio is the median of each round's own, between
measurements that are seconds apart; ratios carry over to other machines where the figures themselves do not.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from statistics import median
from typing import TYPE_CHECKING

from portcullis.bench import machine, process_group
from portcullis.bench.plan import Load

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from portcullis.bench.plan import Mode, Tally
    from portcullis.bench.target import MeasuredService

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99_9": 0.999, "max": 1.0}
_VISIT_SECONDS = 1800.0
_FEW = 500


@dataclass(frozen=True)
class RunPlan:
    """How every service is measured. `rate` is for the open loop; a cold plan uses each token once in all."""

    seconds: float
    warm_up: float
    rounds: int
    connections: int
    streams: int
    processes: int
    tokens: int
    mode: Mode
    rate: float = 0.0

    @property
    def is_cold(self) -> bool:
        """Whether every token is one that the server has never seen."""
        return self.mode == "once"


@dataclass(frozen=True)
class Round:
    """One measurement of one service. Latencies are milliseconds, processor times microseconds an answer."""

    rate: float
    latency: dict[str, float | None]
    cpu: dict[str, float]
    answers: int
    wrong: dict[str, int]
    missed: int
    generator: str = "builtin"


@dataclass
class Result:
    """All rounds of one service."""

    name: str
    rounds: list[Round] = field(default_factory=list)
    grown: int | None = None
    """Bytes by which the service's processes grew while every token was used once."""

    @property
    def is_sound(self) -> bool:
        """Whether there were answers, each the right one: only then do the figures mean anything."""
        return bool(self.rounds) and not self.wrong and all(entry.answers for entry in self.rounds)

    @property
    def wrong(self) -> dict[str, int]:
        """Wrong answers of all rounds, by what was wrong."""
        total: Counter[str] = Counter()
        for entry in self.rounds:
            total.update(entry.wrong)
        return dict(total)

    @property
    def missed(self) -> int:
        """Requests of all rounds that got no answer in time."""
        return sum(entry.missed for entry in self.rounds)

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return median(entry.rate for entry in self.rounds)

    def latency(self, name: str) -> float | None:
        """A percentile by its name, in milliseconds."""
        values = [value for entry in self.rounds if (value := entry.latency[name]) is not None]
        return median(values) if values else None

    def cpu(self, role: str) -> float | None:
        """Processor time of a role's process tree, in microseconds an answer."""
        values = [entry.cpu[role] for entry in self.rounds if role in entry.cpu]
        return median(values) if values else None

    @property
    def roles(self) -> list[str]:
        """The roles whose processor time is known."""
        return sorted({role for entry in self.rounds for role in entry.cpu})


def measure(
    services: Sequence[MeasuredService],
    plan: RunPlan,
    progress: Callable[[str], None],
    *,
    throughput: Callable[[MeasuredService, Load], Round] | None = None,
) -> list[Result]:
    """Measure every service in every round. `throughput` is another generator to use in place of our own.

    Every other round goes backwards, so that no service is always the first, or always after the same one.
    Raises `GeneratorError`.
    """
    results = [Result(service.name) for service in services]
    if not plan.is_cold:
        for service, result in zip(services, results, strict=True):
            progress(f"{service.name}: asking once with each of {plan.tokens:,} tokens")
            result.grown = _visit(service, plan)
    for number in range(plan.rounds):
        order = list(zip(services, results, strict=True))
        for service, result in reversed(order) if number % 2 else order:
            progress(f"round {number + 1} of {plan.rounds}: {service.name}")
            share = load(service, plan, part=number)
            result.rounds.append(throughput(service, share) if throughput else one(service, share))
    return results


def _visit(service: MeasuredService, plan: RunPlan) -> int | None:
    """Use every token once, so that all are known; returns by how many bytes the service grew."""
    pids = [pid for role, pid in service.processes.items() if role == "service"]
    # After a few answers a process has allocated what it needs to answer at all.
    process_group.run(
        replace(load(service, plan, mode="once", seconds=_VISIT_SECONDS), last=min(plan.tokens, _FEW))
    )
    before = machine.resident_bytes(pids)
    process_group.run(load(service, plan, mode="once", seconds=_VISIT_SECONDS))
    after = machine.resident_bytes(pids)
    return after - before if pids and before is not None and after is not None else None


def load(
    service: MeasuredService,
    plan: RunPlan,
    *,
    mode: Mode | None = None,
    seconds: float | None = None,
    part: int = 0,
) -> Load:
    """The load of one measurement. On a cold plan each `part` has its own tokens."""
    first, last = 0, plan.tokens
    if plan.is_cold:
        first, last = (plan.tokens * step // plan.rounds for step in (part, part + 1))
    return Load(
        target=service.target,
        pool=service.pool,
        first=first,
        last=last,
        connections=plan.connections,
        streams=plan.streams,
        mode=mode or plan.mode,
        seconds=seconds or plan.seconds,
        warm_up=0.0 if mode or plan.is_cold else plan.warm_up,
        rate=plan.rate,
        processes=plan.processes,
    )


def one(service: MeasuredService, share: Load) -> Round:
    """Measure a service once with our own generator."""
    meter = Meter(service)
    tally = process_group.run(share, begun=meter.begin, ended=meter.end)
    return as_round(tally, meter.per_answer(tally.answers))


class Meter:
    """Reads the processor time of a service's processes at two moments."""

    def __init__(self, service: MeasuredService) -> None:
        self._roles = service.processes
        self._before: dict[str, float | None] = {}
        self._after: dict[str, float | None] = {}

    def begin(self) -> None:
        """Start counting."""
        self._before = self._read()

    def end(self) -> None:
        """Stop counting."""
        self._after = self._read()

    def per_answer(self, answers: int) -> dict[str, float]:
        """Microseconds an answer, by role; roles without figures are left out."""
        known = {}
        for role, before in self._before.items():
            after = self._after.get(role)
            if before is not None and after is not None and answers:
                known[role] = (after - before) / answers * 1e6
        return known

    def _read(self) -> dict[str, float | None]:
        return {role: machine.cpu_seconds([pid]) for role, pid in self._roles.items()}


def as_round(tally: Tally, cpu: dict[str, float]) -> Round:
    """The figures of a round, from its tally."""
    return Round(
        rate=tally.allowed / tally.seconds if tally.seconds else 0.0,
        latency={name: tally.latency.percentile(share) for name, share in PERCENTILES.items()},
        cpu=cpu,
        answers=tally.answers,
        wrong=tally.wrong,
        missed=tally.missed,
    )


def ratios(results: Sequence[Result]) -> dict[str, dict[str, float]]:
    """The ratio of the first result to each of the others: its figure divided by theirs, round by round.

    A service with wrong answers, also the first one, has no figure to compare with.
    """
    ours, *others = results
    return {
        other.name: _ratios(ours, other) for other in others if ours.is_sound and other.is_sound and other.rate
    }


def _ratios(ours: Result, other: Result) -> dict[str, float]:
    figures: dict[str, Callable[[Round], float | None]] = {
        "throughput": lambda entry: entry.rate,
        "p50": lambda entry: entry.latency["p50"],
        "p99": lambda entry: entry.latency["p99"],
        "service_cpu": lambda entry: entry.cpu.get("service"),
    }
    ratios = {}
    for name, figure in figures.items():
        pairs = [(figure(mine), figure(theirs)) for mine, theirs in zip(ours.rounds, other.rounds, strict=True)]
        values = [mine / theirs for mine, theirs in pairs if mine is not None and theirs]
        if values:
            ratios[name] = median(values)
    return ratios
