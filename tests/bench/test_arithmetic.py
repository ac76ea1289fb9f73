"""Percentiles, arrival times, shares and strides: the arithmetic behind the results."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portcullis.bench.arrivals import Arrivals
from portcullis.bench.generator import stride
from portcullis.bench.latency import Histogram, bucket, highest
from portcullis.bench.plan import Load, Tally, Target
from portcullis.bench.process_group import split
from portcullis.bench.runner import Result, Round, RunPlan, measure, ratios
from portcullis.bench.target import MeasuredService

LOAD = Load(Target("127.0.0.1:1", "check", "http://localhost/x"), Path("tokens"), 0, 100, 8, 4, "closed", 1.0)

microseconds = st.integers(0, 10**9)


@given(microseconds)
def test_a_bucket_contains_its_value_and_is_at_most_a_thousandth_wider(value: int) -> None:
    assert value <= highest(bucket(value)) <= value * 1.001


@given(microseconds, microseconds)
def test_buckets_keep_the_order_of_values(one: int, other: int) -> None:
    assert (bucket(one) <= bucket(other)) or one > other


@given(st.lists(microseconds, min_size=1, max_size=200), st.floats(0.001, 1.0))
def test_a_percentile_is_the_value_that_this_share_did_not_exceed(values: list[int], share: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.record(value / 1e6)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    told = histogram.percentile(share)
    assert told is not None
    # The conversion to seconds may lose a microsecond.
    assert exact - 1 <= round(told * 1000, 6) <= exact * 1.001 + 1


@given(st.lists(microseconds, max_size=50), st.lists(microseconds, max_size=50))
def test_merged_histograms_equal_one_histogram_of_all_values(some: list[int], others: list[int]) -> None:
    together, one, other = Histogram(), Histogram(), Histogram()
    for part, values in ((one, some), (other, others)):
        for value in values:
            part.record(value / 1e6)
            together.record(value / 1e6)
    one.merge(other)
    assert one.counts == together.counts


def test_an_empty_histogram_has_no_percentile() -> None:
    assert Histogram().percentile(0.5) is None


@given(st.floats(1, 100_000), st.integers(1, 8), st.floats(0.1, 20))
def test_processes_together_keep_the_rate_and_share_no_arrival_time(
    rate: float, processes: int, seconds: float
) -> None:
    parts = [Arrivals(1000.0, rate, number, processes) for number in range(processes)]
    total = sum(part.before(1000.0 + seconds) for part in parts)
    assert abs(total - rate * seconds) <= 1
    first = sorted(part.due(0) for part in parts)
    assert first == pytest.approx([1000.0 + number / rate for number in range(processes)])


@given(st.floats(1, 100_000), st.integers(0, 3), st.floats(0, 5))
def test_the_count_before_a_time_agrees_with_the_arrival_times(rate: float, number: int, later: float) -> None:
    arrivals = Arrivals(5000.0, rate, number, 4)
    count = arrivals.before(5000.0 + later)
    assert arrivals.due(count) >= 5000.0 + later
    assert count == 0 or arrivals.due(count - 1) < 5000.0 + later


@given(st.integers(1, 5000))
def test_a_stride_uses_every_token_before_it_repeats_one(count: int) -> None:
    step = stride(count)
    assert len({number * step % count for number in range(count)}) == count


@given(st.integers(1, 12), st.integers(1, 30), st.integers(1, 300))
def test_shares_of_processes_add_up_to_the_load(processes: int, connections: int, tokens: int) -> None:
    whole = replace(LOAD, processes=processes, connections=connections, last=tokens, mode="once")
    parts = split(whole)
    assert sum(part.connections for part in parts) == connections
    assert all(part.connections for part in parts)
    asked = [number for part in parts for number in range(part.first, part.last)]
    assert asked == list(range(tokens))


def test_tallies_of_processes_add_up_over_the_same_time() -> None:
    one, other = Tally(seconds=2.0), Tally(seconds=2.0, missed=3)
    one.verdicts["allowed"] = 5
    other.verdicts.update({"allowed": 7, "reset with code 8": 1})
    one.merge(other)
    assert (one.allowed, one.answers, one.missed, one.seconds) == (12, 13, 3, 2.0)
    assert one.wrong == {"reset with code 8": 1}


def a_round(rate: float, p99: float | None = 1.0, cpu: float = 100.0) -> Round:
    latency = {"p50": 1.0, "p99": p99}
    return Round(rate=rate, latency=latency, cpu={"service": cpu}, answers=1, wrong={}, missed=0)


def test_a_ratio_is_between_measurements_of_the_same_round() -> None:
    """A machine that becomes slower all the time does not make two equal services differ."""
    ours = Result("ours", [a_round(900, cpu=10), a_round(300, cpu=30), a_round(90, p99=None, cpu=100)])
    same = Result("same", [a_round(900, cpu=20), a_round(100, cpu=60), a_round(90, cpu=200)])
    assert ratios([ours, same]) == {"same": {"throughput": 1.0, "p50": 1.0, "p99": 1.0, "service_cpu": 0.5}}


def test_every_second_round_has_the_reverse_order() -> None:
    order: list[str] = []

    def measured(subject: MeasuredService, _: Load) -> Round:
        order.append(subject.name)
        return a_round(1)

    plan = RunPlan(1.0, 0.0, 3, 1, 1, 1, 30, "once")
    measure(
        [MeasuredService(name, LOAD.target, LOAD.pool) for name in "ab"],
        plan,
        lambda _: None,
        throughput=measured,
    )
    assert order == ["a", "b", "b", "a", "a", "b"]
