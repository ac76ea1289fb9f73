"""Every metric of the check service: its name, its kind, its meaning, and how the figures of workers are combined.

Figures are plain numbers under their name on the page, labels included, so that combining two workers is adding
numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Figures = dict[str, float]


class Family(NamedTuple):
    """One metric. `join` combines the figures of several workers into one."""

    name: str
    kind: str
    meaning: str
    join: Callable[[Iterable[float]], float] = sum


FAMILIES = (
    Family("portcullis_check_seconds", "histogram", "Time from a whole CheckRequest to its answer."),
    Family("portcullis_checks_refused_total", "counter", "Refused requests, by the reason in the audit log."),
    Family("portcullis_cache_hits_total", "counter", "Checks answered from the caches."),
    Family("portcullis_cache_misses_total", "counter", "Checks that had to wait for Redis or for a key."),
    Family("portcullis_signatures_total", "counter", "Signatures that were checked, by result."),
    Family("portcullis_signatures_waiting", "gauge", "Tokens that wait for their signature to be checked."),
    Family("portcullis_cached_tokens", "gauge", "Genuine tokens in the cache."),
    Family("portcullis_redis_lookups_total", "counter", "Lookups of tokens in Redis."),
    Family("portcullis_redis_lookups_shared_total", "counter", "Checks that waited for another check's lookup."),
    Family("portcullis_redis_lookups_refused_total", "counter", "Checks refused because too many lookups waited."),
    Family("portcullis_redis_lookups_waiting", "gauge", "Lookups without an answer at this moment."),
    Family("portcullis_invalidations_total", "counter", "Invalidation messages of Redis."),
    Family(
        "portcullis_tracking_connections_total",
        "counter",
        "Tracking connections that were opened; all but the first replaced one.",
    ),
    Family("portcullis_tracking_connection_up", "gauge", "1 while cached statuses are valid.", min),
    Family(
        "portcullis_staleness_seconds", "gauge", "Seconds since Redis last proved that no change was missed.", max
    ),
    Family("portcullis_keys_fresh", "gauge", "1 while the last read of the public keys found them.", min),
    Family("portcullis_worker_up", "gauge", "Workers that report figures."),
    Family("portcullis_worker_starts_total", "counter", "Workers that were started and became ready."),
)
_BY_NAME = {family.name: family for family in FAMILIES}
_PARTS_OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")


def labelled(name: str, **labels: str) -> str:
    """Return `name{label="value"}`. Values come from this program and need no escaping."""
    text = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return f"{name}{{{text}}}"


def family_of(sample: str) -> Family:
    """Return the metric that a figure belongs to. Raises `KeyError` for a name that is not in `FAMILIES`."""
    name = sample.partition("{")[0]
    if name in _BY_NAME:
        return _BY_NAME[name]
    for part in _PARTS_OF_A_HISTOGRAM:
        if name.endswith(part):
            return _BY_NAME[name.removesuffix(part)]
    raise KeyError(name)


def joined(parts: Iterable[Figures]) -> Figures:
    """Return the combined figures of several workers."""
    samples: dict[str, list[float]] = {}
    for figures in parts:
        for sample, value in figures.items():
            samples.setdefault(sample, []).append(value)
    return {sample: family_of(sample).join(values) for sample, values in samples.items()}


def lasting(figures: Figures) -> Figures:
    """Return the figures of an ended worker that still count: its counters."""
    return {sample: value for sample, value in figures.items() if family_of(sample).kind != "gauge"}


def exposition(workers: dict[str, Figures]) -> str:
    """Return the figures of workers, by name, in Prometheus' text format; a worker named "" has no label."""
    lines: dict[str, list[str]] = {family.name: [] for family in FAMILIES}
    for worker, figures in workers.items():
        for sample, value in figures.items():
            name, _, labels = sample.partition("{")
            if worker:
                labels = f'worker="{worker}"' + (f",{labels}" if labels else "}")
            shown = f"{name}{{{labels}" if labels else name
            lines[family_of(sample).name].append(f"{shown} {_number(value)}")
    text = []
    for family in FAMILIES:
        if lines[family.name]:
            text += [f"# HELP {family.name} {family.meaning}", f"# TYPE {family.name} {family.kind}"]
            text += lines[family.name]
    return "\n".join(text) + "\n"


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(value)
