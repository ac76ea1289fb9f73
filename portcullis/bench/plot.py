"""The report as a picture: bars for what is more or less, drawn as SVG without any library."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_WIDTH = 760
_LABEL = 150
_BAR = 460
_LINE = 26
_TITLE = 34
_COLOURS = ("#2457a7", "#8a97ab")
_UNSOUND = "#c0392b"


def draw(report: dict[str, Any]) -> str:
    """An SVG document of a report as `report.document` makes it."""
    results = report["results"]
    panels = [
        ("Right answers a second (more is better)", [_value(result, "rate") for result in results], "{:,.0f}"),
        (
            "Latency p99, ms (less is better)",
            [_value(result, "latency_ms", "p99") for result in results],
            "{:.2f}",
        ),
        (
            "Processor time an answer, µs, all its processes (less is better)",
            [
                sum(result["cpu_us"].values()) if result["sound"] and result["cpu_us"] else None
                for result in results
            ],
            "{:.0f}",
        ),
    ]
    names = [result["name"] for result in results]
    height = len(panels) * (_TITLE + _LINE * len(names)) + 48
    plan = report["plan"]
    caption = (
        f"{report['machine']['processors']} x {report['machine']['processor']}; {plan['mode']} loop, "
        f"{plan['tokens']:,} tokens, {plan['connections']} x {plan['streams']} streams, "
        f"median of {plan['rounds']}; {report['started_at']}"
    )
    body: list[str] = []
    top = 16
    for title, values, form in panels:
        body += _panel(top, title, names, values, form)
        top += _TITLE + _LINE * len(names)
    body.append(f'<text x="12" y="{top + 16}" class="small">{escape(caption)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="Benchmark of the check path">'
        "<style>text{font:13px sans-serif;fill:#222}.title{font-weight:bold}.small{font-size:11px;fill:#666}"
        "</style>"
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>{"".join(body)}</svg>\n'
    )


def _value(result: dict[str, Any], *path: str) -> float | None:
    """A figure, if it means something."""
    value: Any = result
    for step in path:
        value = value[step]
    return float(value) if result["sound"] and value is not None else None


def _panel(top: int, title: str, names: Sequence[str], values: Sequence[float | None], form: str) -> Iterator[str]:
    yield f'<text x="12" y="{top + 14}" class="title">{escape(title)}</text>'
    largest = max((value for value in values if value), default=1.0)
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        y = top + 22 + number * _LINE
        yield f'<text x="12" y="{y + 14}">{escape(name)}</text>'
        if value is None:
            yield f'<text x="{_LABEL}" y="{y + 14}" fill="{_UNSOUND}">no sound figure</text>'
            continue
        width = max(1.0, value / largest * _BAR)
        colour = _COLOURS[min(number, 1)]
        yield f'<rect x="{_LABEL}" y="{y}" width="{width:.1f}" height="18" rx="2" fill="{colour}"/>'
        yield f'<text x="{_LABEL + width + 8:.1f}" y="{y + 14}">{form.format(value)}</text>'
