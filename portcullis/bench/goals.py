"""The goals of the check path beside what was measured, as a table in Markdown; `make bench` ends with it.

Each goal is a ratio or a bound that carries over to other machines. It is read from the documents of one set of
runs. A figure that no run measured, or only a run with wrong answers, is shown as missing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from portcullis.bench.target import VARIANTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    Documents = Mapping[str, dict[str, Any]]


@dataclass(frozen=True)
class Goal:
    """`value` finds the figure in the documents of a set, and raises `LookupError` where it is not.

    The figure should be `least` or more, or `most` or less; with neither it is for information.
    """

    what: str
    value: Callable[[Documents], float]
    form: str
    least: float | None = None
    most: float | None = None

    @property
    def target(self) -> str:
        """The goal in words."""
        if self.least is not None:
            return f"≥ {self.least:g}"
        return "-" if self.most is None else f"≤ {self.most:g}"

    def verdict(self, value: float) -> str:
        """Whether `value` meets it."""
        if self.least is None and self.most is None:
            return ""
        too_little = self.least is not None and value < self.least
        return "missed" if too_little or (self.most is not None and value > self.most) else "met"


def _ratio(run: str, peer: str, figure: str) -> Callable[[Documents], float]:
    return lambda documents: float(documents[run]["ratios"][peer][figure])


def _cost(variant: str, figure: str) -> Callable[[Documents], float]:
    """Our own figure with something switched on, over that without."""
    run = variant if variant in {"metrics", "audit"} else "with"
    return lambda documents: 1 / float(documents[run]["ratios"][VARIANTS[variant]][figure])


def _ours(document: dict[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = document["results"][0]
    if not result["sound"]:
        raise LookupError("an unsound result has no figures")
    return result


def _second_process(documents: Documents) -> float:
    """Twice the processor time an answer with one worker, over that with two."""
    return 2 * float(documents["with"]["ratios"][VARIANTS["second-worker"]]["service_cpu"])


def _holds(documents: Documents) -> float:
    seen = documents["direct"]["revocation"]
    if not seen["sound"]:
        raise LookupError("an unsound result has no figures")
    return float(seen["holds_ms"]["p99"])


def _memory(documents: Documents) -> float:
    many = documents["many"]
    return float(_ours(many)["grown_bytes"] / many["plan"]["tokens"])


def _many(run: str) -> Callable[[Documents], float]:
    return lambda documents: float(_ours(documents[run])["rate"] / _ours(documents["one"])["rate"])


def _flood(kind: str) -> Callable[[Documents], float]:
    def value(documents: Documents) -> float:
        for flooded in documents["flood"]["floods"]:
            if flooded["kind"] == kind and flooded["sound"] and flooded["p99_ratio"]:
                return float(flooded["p99_ratio"])
        raise LookupError(kind)

    return value


_TIMES = "{:.2f}x"
_FINE = "{:.3f}x"

GOALS = (
    Goal(
        "throughput against OPA's plugin, direct gRPC, same work plus revocation",
        _ratio("direct", "opa", "throughput"),
        _TIMES,
        least=5,
    ),
    Goal("processor time per check against OPA's plugin", _ratio("direct", "opa", "service_cpu"), _TIMES),
    Goal(
        "CPU per check against a Go server that does nothing",
        _ratio("direct", "go-noop", "service_cpu"),
        _TIMES,
        most=2,
    ),
    Goal(
        "through Envoy, against a Go server that does nothing",
        _ratio("envoy", "go-noop", "throughput"),
        _TIMES,
        least=0.95,
    ),
    Goal("through Envoy, against OPA's plugin", _ratio("envoy", "opa", "throughput"), _TIMES),
    Goal(
        "p99 through Envoy at 70 % load, against the Go no-op",
        _ratio("envoy-70", "go-noop", "p99"),
        _TIMES,
        most=1.2,
    ),
    Goal("second process on a second core, by processor time per check", _second_process, _TIMES, least=1.9),
    Goal("revocation propagation p99 under load", _holds, "{:.1f} ms", most=5),
    Goal("memory per cached token", _memory, "{:,.0f} bytes", most=2048),
    Goal("100,000 live tokens, throughput against 1,000", _many("many"), _TIMES, least=0.9),
    Goal("1,000,000 live tokens, throughput against 1,000", _many("million"), _TIMES, least=0.9),
    Goal("tool rules, processor time per check against none", _cost("tool-rules", "service_cpu"), _TIMES),
    Goal("tool rules, throughput against none", _cost("tool-rules", "throughput"), _TIMES),
    Goal("metrics, processor time per check against none", _cost("metrics", "service_cpu"), _FINE, most=1.03),
    Goal(
        "metrics, throughput without against with",
        _ratio("metrics", VARIANTS["metrics"], "throughput"),
        _FINE,
        most=1.03,
    ),
    Goal(
        "the audit record, processor time per check against none",
        _cost("audit", "service_cpu"),
        _FINE,
        most=1.05,
    ),
    *(
        Goal(f"p99 of valid callers during a flood of {kind}, against quiet", _flood(kind), _TIMES, most=2)
        for kind in ("garbage", "distinct", "headers")
    ),
)


def read_reports(folder: Path) -> dict[str, dict[str, Any]]:
    """The reports in `folder`, by the names of their files. Raises `OSError` or `ValueError`."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def markdown(documents: Documents) -> str:
    """The table of goals, and the figures of every run below it."""
    lines = ["| what | goal | measured | |", "|---|---|---|---|"]
    for goal in GOALS:
        try:
            value = goal.value(documents)
        except (LookupError, TypeError, ZeroDivisionError):
            lines.append(f"| {goal.what} | {goal.target} | - | not measured |")
            continue
        lines.append(f"| {goal.what} | {goal.target} | {goal.form.format(value)} | {goal.verdict(value)} |")
    for name, document in documents.items():
        lines += ["", *_run(name, document)]
    return "\n".join(lines) + "\n"


def _run(name: str, document: dict[str, Any]) -> list[str]:
    plan, machine = document["plan"], document["machine"]
    rate = f" at {plan['rate']:,.0f} requests/s" if plan["rate"] else ""
    way = "through Envoy" if document["setting"]["through_envoy"] else "direct gRPC"
    load = f"{plan['connections']} connections of {plan['streams']} streams, {plan['tokens']:,} tokens"
    where = f"{machine['processors']} cores, {machine['processor']}, {machine['python']}"
    lines = [
        f"`{name}`: {way}, {plan['mode']} loop{rate}, {load}, medians of {plan['rounds']} rounds; {where}",
        "",
        "| | answers/s | p50 | p99 | CPU µs an answer |",
        "|---|---|---|---|---|",
    ]
    for result in document["results"]:
        cpu = ", ".join(f"{role} {value:.0f}" for role, value in result["cpu_us"].items()) or "-"
        figures = f"{result['rate']:,.0f}" if result["sound"] else "unsound"
        p50, p99 = (_ms(result["latency_ms"][at]) for at in ("p50", "p99"))
        lines.append(f"| {result['name']} | {figures} | {p50} | {p99} | {cpu} |")
    return lines


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
