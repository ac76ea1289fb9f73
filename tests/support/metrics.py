"""Reads a page of metrics as Prometheus does."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by the name of the sample and its sorted labels."""


def read_samples(text: str) -> Samples:
    """Return all samples of a page."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    """Return one sample, or 0 if the page does not have it."""
    return found.get((name, tuple(sorted(labels.items()))), 0.0)


def families(text: str) -> dict[str, str]:
    """Return the kind of each metric of a page."""
    kinds = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            kinds[name] = kind
    return kinds
