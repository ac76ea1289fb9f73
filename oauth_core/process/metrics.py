"""Metrics of one program: families, histograms, and the text that Prometheus reads.

Figures are plain numbers under their name on the page, labels included, so that combining two processes is adding
numbers.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of `exposition`."""

Figures = dict[str, float]

_INFINITE = float("inf")
_PARTS_OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")


class Family(NamedTuple):
    """One metric. `join` combines the figures of several processes into one."""

    name: str
    kind: str
    meaning: str
    join: Callable[[Iterable[float]], float] = sum


class Timings:
    """How many durations are in each bucket, and their sum in seconds. `edges` are the buckets' upper ends."""

    __slots__ = ("_counts", "_edges", "_seconds")

    def __init__(self, edges: tuple[float, ...]) -> None:
        self._edges = edges
        self._counts = [0] * (len(edges) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(self._edges, seconds)] += 1
        self._seconds += seconds

    @property
    def total(self) -> int:
        """The number of durations."""
        return sum(self._counts)

    def figures(self, name: str, **labels: str) -> Figures:
        """Return the series of a histogram `name` with these labels."""
        figures: Figures = {}
        running = 0
        for edge, count in zip((*self._edges, _INFINITE), self._counts, strict=True):
            running += count
            figures[labelled(f"{name}_bucket", **labels, le=_edge_text(edge))] = running
        figures[labelled(f"{name}_count", **labels)] = running
        figures[labelled(f"{name}_sum", **labels)] = self._seconds
        return figures


class Histogram:
    """The timings of one family, by the values of its labels. No value may be chosen by a caller.

    A series begins with its first duration, unless it is among `initial`.
    """

    def __init__(
        self,
        family: Family,
        labels: tuple[str, ...],
        edges: tuple[float, ...],
        *,
        initial: Iterable[tuple[str, ...]] = (),
    ) -> None:
        self.family = family
        self._labels = labels
        self._edges = edges
        self._series = {values: Timings(edges) for values in initial}

    def add(self, seconds: float, *values: str) -> None:
        """Count one duration, with a value for each label."""
        timings = self._series.get(values)
        if timings is None:
            timings = self._series[values] = Timings(self._edges)
        timings.add(seconds)

    def figures(self) -> Figures:
        """Return all series."""
        figures: Figures = {}
        for values, timings in self._series.items():
            figures |= timings.figures(self.family.name, **dict(zip(self._labels, values, strict=True)))
        return figures


def labelled(name: str, **labels: str) -> str:
    """Return `name{label="value"}`. Values come from this program and need no escaping."""
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{text}}}"


def family_of(sample: str, families: Mapping[str, Family]) -> Family:
    """Return the metric that a figure belongs to. Raises `KeyError` for a name that is not in `families`."""
    name = sample.partition("{")[0]
    if name in families:
        return families[name]
    for part in _PARTS_OF_A_HISTOGRAM:
        if name.endswith(part):
            return families[name.removesuffix(part)]
    raise KeyError(name)


def exposition(families: Mapping[str, Family], workers: Mapping[str, Figures]) -> str:
    """Return the figures of workers, by name, in Prometheus' text format; a worker named "" has no label."""
    lines: dict[str, list[str]] = {name: [] for name in families}
    for worker, figures in workers.items():
        for sample, value in figures.items():
            name, _, labels = sample.partition("{")
            if worker:
                labels = f'worker="{worker}"' + (f",{labels}" if labels else "}")
            shown = f"{name}{{{labels}" if labels else name
            lines[family_of(sample, families).name].append(f"{shown} {_number(value)}")
    text = []
    for name, family in families.items():
        if lines[name]:
            text += [f"# HELP {name} {family.meaning}", f"# TYPE {name} {family.kind}", *lines[name]]
    return "\n".join(text) + "\n"


def _number(value: float) -> str:
    if value == _INFINITE:
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)


def _edge_text(edge: float) -> str:
    return "+Inf" if edge == _INFINITE else f"{edge:.6f}".rstrip("0").rstrip(".")
