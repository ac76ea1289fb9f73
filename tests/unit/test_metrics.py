"""Histograms and their text in the format of Prometheus."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.process.metrics import Family, Histogram, Timings, exposition, family_of
from tests.support.metrics import families, read_samples, value

TIMES = Family("requests_seconds", "histogram", "Time of a request.")
COUNT = Family("requests_total", "counter", "Requests.")
LIMIT = Family("limit_bytes", "gauge", "A limit.")
EDGES = (0.000_25, 0.01, 0.5, 1.0, 10.0)
durations = st.lists(st.floats(min_value=0, max_value=100) | st.sampled_from(EDGES), max_size=50)


@given(durations)
def test_each_bucket_counts_the_durations_up_to_its_edge(seconds: list[float]) -> None:
    times = Histogram(TIMES, ("step", "result"), EDGES, initial=[("user", "answered")])
    for one in seconds:
        times.add(one, "user", "answered")
    text = exposition({TIMES.name: TIMES}, {"": times.figures()})
    assert families(text) == {TIMES.name: "histogram"}
    found = read_samples(text)
    labels = {"step": "user", "result": "answered"}
    for edge, shown in zip(EDGES, ("0.00025", "0.01", "0.5", "1", "10"), strict=True):
        expected = sum(one <= edge for one in seconds)
        assert value(found, f"{TIMES.name}_bucket", le=shown, **labels) == expected
    assert value(found, f"{TIMES.name}_bucket", le="+Inf", **labels) == len(seconds)
    assert value(found, f"{TIMES.name}_count", **labels) == len(seconds)
    assert value(found, f"{TIMES.name}_sum", **labels) == pytest.approx(sum(seconds))


def test_a_series_begins_with_its_first_duration_unless_it_is_initial() -> None:
    times = Histogram(TIMES, ("status",), EDGES, initial=[("2xx",)])
    assert {dict(labels)["status"] for _, labels in read_samples(page_of(times))} == {"2xx"}
    times.add(0.1, "5xx")
    assert {dict(labels)["status"] for _, labels in read_samples(page_of(times))} == {"2xx", "5xx"}


def page_of(times: Histogram) -> str:
    return exposition({TIMES.name: TIMES}, {"": times.figures()})


def test_workers_have_a_label_and_a_family_without_samples_is_left_out() -> None:
    given = {family.name: family for family in (COUNT, LIMIT)}
    text = exposition(given, {"0": {"requests_total": 1}, "1": {'requests_total{a="b"}': 2.5}, "": {}})
    assert families(text) == {"requests_total": "counter"}
    assert 'requests_total{worker="0"} 1\n' in text
    assert 'requests_total{worker="1",a="b"} 2.5\n' in text


def test_prometheus_can_read_an_infinite_value() -> None:
    text = exposition({LIMIT.name: LIMIT}, {"": {LIMIT.name: float("inf")}})
    assert "limit_bytes +Inf\n" in text
    assert value(read_samples(text), LIMIT.name) == float("inf")


@pytest.mark.parametrize("sample", ["unknown", "requests", "requests_seconds_other", "unknown_bucket{le=1}"])
def test_a_figure_of_an_unknown_family_is_an_error(sample: str) -> None:
    with pytest.raises(KeyError):
        family_of(sample, {TIMES.name: TIMES})


def test_the_total_is_the_number_of_durations() -> None:
    timings = Timings(EDGES)
    for seconds in (0.0, 0.3, 99.0):
        timings.add(seconds)
    assert timings.total == 3
