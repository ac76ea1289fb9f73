"""The report of a run: one JSON document whose form is stable, and a table of it for people.

`SCHEMA` goes up when a field changes its meaning or leaves; new fields may come without.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from portcullis.bench import machine
from portcullis.bench.runner import PERCENTILES, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portcullis.bench.flood import Flooded
    from portcullis.bench.revocation import Propagation
    from portcullis.bench.runner import Result, RunPlan

SCHEMA = 2

_MANY = 10_000
"""With fewer tokens the growth of memory depends more on the allocator than on the tokens."""


def document(
    plan: RunPlan,
    results: Sequence[Result],
    revocation: Propagation | None = None,
    floods: Sequence[Flooded] = (),
    *,
    setting: dict[str, Any],
    started_at: str,
) -> dict[str, Any]:
    """The run as JSON-ready data. Latencies are milliseconds, processor times microseconds an answer."""
    return {
        "schema": SCHEMA,
        "started_at": started_at,
        "machine": machine.describe(),
        "software": machine.software(),
        "setting": setting,
        "plan": asdict(plan),
        "results": [_result(result) for result in results],
        "ratios": ratios(results) if results else {},
        "revocation": revocation.summary() if revocation else None,
        "floods": [flooded.summary() for flooded in floods],
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "name": result.name,
        "sound": result.is_sound,
        "rate": result.rate,
        "latency_ms": {name: result.latency(name) for name in PERCENTILES},
        "cpu_us": {role: result.cpu(role) for role in result.roles},
        "answers": sum(entry.answers for entry in result.rounds),
        "wrong": result.wrong,
        "missed": result.missed,
        "grown_bytes": result.grown,
        "rounds": [asdict(entry) for entry in result.rounds],
    }


def table(report: dict[str, Any]) -> str:
    """The report as text, for a terminal of 100 columns."""
    generators = {entry["generator"] for result in report["results"] for entry in result["rounds"]}
    by = f"; asked by {', '.join(sorted(generators))}" if generators - {"builtin"} else ""
    lines = [_machine(report["machine"]), _plan(report["plan"], report["setting"]) + by, ""]
    if report["results"]:
        lines += _grid([_HEADINGS, *(_row(result) for result in report["results"])])
        for result in report["results"]:
            lines += _remarks(result, report["plan"]["tokens"])
    if report["ratios"]:
        first = report["results"][0]["name"]
        lines += ["", f"{first} against each other, as ratios:"]
        names = ("throughput", "service_cpu", "p50", "p99")
        rows = [
            [other, *(f"{values[name]:.2f}x" if name in values else "-" for name in names)]
            for other, values in report["ratios"].items()
        ]
        lines += _grid([["", "throughput", "service CPU", "p50", "p99"], *rows])
    if report["revocation"]:
        lines += ["", *_revocation(report["revocation"])]
    for flooded in report["floods"]:
        lines += ["", *_flood(flooded)]
    return "\n".join(lines)


_HEADINGS = [
    "",
    "answers/s",
    *(name.replace("_", ".") for name in PERCENTILES),
    "CPU µs/answer",
    "wrong",
]


def _row(result: dict[str, Any]) -> list[str]:
    cpu = " + ".join(f"{role} {value:.0f}" for role, value in result["cpu_us"].items())
    wrong = sum(result["wrong"].values())
    return [
        result["name"],
        f"{result['rate']:,.0f}" if result["sound"] else "unsound",
        *(_ms(value) for value in result["latency_ms"].values()),
        cpu or "-",
        str(wrong),
    ]


def _remarks(result: dict[str, Any], tokens: int) -> list[str]:
    lines = [f"  {result['name']}: {count} answers were wrong: {what}" for what, count in result["wrong"].items()]
    if result["missed"]:
        lines.append(
            f"  {result['name']}: {result['missed']} requests had no answer in time; it cannot keep this rate, "
            "and its latencies are at least these"
        )
    if result["grown_bytes"] is not None and tokens >= _MANY:
        lines.append(f"  {result['name']}: grew by {result['grown_bytes'] / tokens:,.0f} bytes a token")
    if not result["answers"]:
        lines.append(f"  {result['name']}: no answer at all")
    return lines


def _revocation(summary: dict[str, Any]) -> list[str]:
    what = f"revocation, {summary['revocations']} times"
    beside = f"the others took p50 {_ms(summary['background_p50_ms'])}, p99 {_ms(summary['background_p99_ms'])}"
    return [
        f"{what} with {summary['background_rate']:,.0f} other answers/s:",
        f"  from DEL until requests that are sent are refused:  {_figures(summary['holds_ms'])}",
        f"  from DEL until the first refused answer is there:  {_figures(summary['first_refused_ms'])}",
        f"  {beside}",
        f"  {summary['never_refused']} never refused; {summary['allowed_after_refused']} allowed again after that",
    ]


def _flood(summary: dict[str, Any]) -> list[str]:
    callers = f"valid callers at {summary['rate']:,.0f} requests/s"
    beside = f"a flood of {summary['kind']} ({summary['flood_rate']:,.0f} answers/s)"
    return [
        f"{callers}, without and with {beside}:",
        f"  quiet:    {_figures(summary['quiet_ms'])}",
        f"  flooded:  {_figures(summary['flooded_ms'])}",
        f"  p99 {summary['p99_ratio']:.2f}x; {summary['missed']} without an answer in time",
    ]


def _figures(latency: dict[str, float | None]) -> str:
    return "  ".join(f"{name.replace('_', '.')} {_ms(value)}" for name, value in latency.items())


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} ms"


def _machine(described: dict[str, Any]) -> str:
    return f"{described['processors']} x {described['processor']}, {described['system']}, {described['python']}"


def _plan(plan: dict[str, Any], setting: dict[str, Any]) -> str:
    kind = {
        "closed": "closed loop",
        "open": f"open loop at {plan['rate']:g} requests/s, latency from the intended moment",
        "once": "closed loop, cold: each token once",
    }[plan["mode"]]
    way = "through Envoy" if setting["through_envoy"] else "direct gRPC"
    return (
        f"{way}, {kind}; {plan['connections']} connections x {plan['streams']} streams, "
        f"{plan['tokens']:,} tokens, {plan['rounds']} x {plan['seconds']:g} s"
    )


def _grid(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) if not at else cell.rjust(width) for at, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
