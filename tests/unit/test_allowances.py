"""Allowances and accounts, with a clock of the test: what callers get at most, whatever processes there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.limits.accounts import MOST_IN_A_BATCH, Account, Given
from oauth_core.limits.allowances import DAY, SECOND, CallQuota, CallRate, Moment, read_quota, read_rate
from oauth_core.limits.call_limits import CallLimits, most_generous
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from oauth_core.limits.allowances import Allowance

RATES = st.builds(CallRate, st.integers(1, 200), st.sampled_from([1, 60, 3600, 86_400]))
QUOTAS = st.builds(CallQuota, st.integers(1, 200))
WALL = 20_000 * DAY
"""The beginning of a day."""


def at(steady: int, *, wall: int | None = None) -> Moment:
    return Moment(steady, WALL + steady if wall is None else wall)


@pytest.mark.parametrize("text", ["1/second", "60/minute", "1000/hour", "9999999/day"])
def test_a_rate_is_read_from_its_text_and_written_as_the_same(text: str) -> None:
    assert str(read_rate(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "60",
        "0/minute",
        "-1/minute",
        "60/minutes",
        "60 / minute",
        "6e1/minute",
        "60/minute\n",
        "٦/minute",
        "1.5/day",
    ],
)
def test_another_text_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="60/minute"):
        read_rate(text)


@pytest.mark.parametrize("text", ["", "5", "5/hour", "0/day", "5/day\n", "10000000000/day"])
def test_another_text_is_no_quota(text: str) -> None:
    assert str(read_quota("1000/day")) == "1000/day"
    with pytest.raises(ValueError, match="1000/day"):
        read_quota(text)


@given(RATES, st.integers(0, 10**15))
def test_a_new_subject_gets_exactly_its_whole_rate_at_once(rate: CallRate, start: int) -> None:
    state, moment, got = 0, at(start), 0
    while rate.free(state, moment) > 0:
        assert rate.wait(state, moment) == 0
        state, got = rate.after(state, moment, 1), got + 1
    assert got == rate.count
    wait = rate.wait(state, moment)
    assert wait == rate.each
    assert rate.free(state, at(start + wait - 1)) == 0
    assert rate.free(state, at(start + wait)) == 1


@given(RATES, RATES, st.integers(0, 300))
def test_a_rate_that_replaces_another_begins_with_an_empty_bucket_at_worst(
    before: CallRate, rate: CallRate, taken: int
) -> None:
    state = rate.after(before.after(0, at(0), taken), at(0), 0)
    assert 0 <= rate.free(state, at(0)) <= rate.count
    assert rate.wait(state, at(0)) <= rate.each
    assert rate.free(state, at(rate.seconds * SECOND + rate.count)) == rate.count


@given(RATES, st.lists(st.integers(0, 5 * SECOND), min_size=1, max_size=300))
@examples(60)
def test_in_any_time_a_rate_gives_its_bucket_and_what_the_time_gives_back(rate: CallRate, gaps: list[int]) -> None:
    taken: list[int] = []
    state, now = 0, 0
    for gap in gaps:
        now += gap
        while rate.free(state, at(now)) > 0 and len(taken) < 2000:
            state = rate.after(state, at(now), 1)
            taken.append(now)
    assert_within(taken, rate, extra=0)


@given(RATES, st.integers(0, 300), st.integers(0, 300), st.integers(0, 10**9))
def test_permits_that_come_back_never_overfill_a_bucket(
    rate: CallRate, taken: int, back: int, passed: int
) -> None:
    state = rate.after(0, at(0), min(taken, rate.count))
    state = rate.after(state, at(passed), -back)
    assert rate.free(state, at(passed)) <= rate.count


@given(QUOTAS, st.integers(0, DAY - 1), st.integers(0, 3))
def test_a_quota_is_for_a_day_of_utc_and_begins_again_at_midnight(quota: CallQuota, into: int, days: int) -> None:
    wall = WALL + days * DAY + into
    state, got = quota.after(0, at(0, wall=WALL), quota.count) if days else 0, 0
    while quota.wait(state, at(0, wall=wall)) == 0:
        state, got = quota.after(state, at(0, wall=wall), 1), got + 1
    assert got == quota.count
    wait = quota.wait(state, at(0, wall=wall))
    assert wait == DAY - into
    assert quota.free(state, at(0, wall=wall + wait)) == quota.count


def assert_within(taken: list[int], rate: CallRate, *, extra: int) -> None:
    """Assert that no time has more permits than the rate gives in it, and in `extra` microseconds."""
    for first, begin in enumerate(taken):
        for last in range(first, len(taken)):
            most = rate.count + (taken[last] - begin + extra) // rate.each
            assert last - first + 1 <= most


@dataclass
class Counter:
    """Counts as the script in Redis does, with a clock of the test."""

    allowance: Allowance
    state: int = 0
    given: int = 0

    def lease(self, moment: Moment, needed: int, asked: int) -> Given:
        free = self.allowance.free(self.state, moment)
        permits = min(free, needed + min(max(asked - needed, 0), max(free - needed, 0) // 4))
        if permits:
            self.state = self.allowance.after(self.state, moment, permits)
        self.given += permits
        is_quota = isinstance(self.allowance, CallQuota)
        return Given(
            permits,
            self.allowance.wait(self.state, moment) if permits == free else 0,
            DAY - moment.wall % DAY if is_quota else 0,
            moment.wall // DAY,
        )

    def give_back(self, moment: Moment, permits: int, day: int) -> None:
        if self.allowance.each or day == moment.wall // DAY:
            self.state = self.allowance.after(self.state, moment, -permits)


@dataclass
class Processes:
    """Some processes with an account each, which share a counter."""

    allowance: Allowance
    number: int
    now: int = 0
    used: list[int] = field(default_factory=list)
    questions: int = 0

    def __post_init__(self) -> None:
        self.counter = Counter(self.allowance)
        self.accounts = [Account() for _ in range(self.number)]

    def call(self, number: int, delay: int = 0) -> bool:
        """Let a process answer a call; an answer of Redis takes `delay`. Return whether it passes."""
        account = self.accounts[number]
        if (wait := account.wait_shared(at(self.now))) is None:
            self.questions += 1
            asked_at = at(self.now)
            if unused := account.lapsed(self.allowance, asked_at):
                self.counter.give_back(asked_at, unused.permits, unused.day)
            needed, asked = account.demand(self.allowance, 1, asked_at)
            assert needed <= asked <= MOST_IN_A_BATCH + needed
            self.now += delay
            account.give(self.allowance, asked_at, self.counter.lease(at(self.now), needed, asked))
            wait = account.wait_shared(at(self.now))
        if wait == 0:
            account.take(self.allowance, at(self.now))
            self.used.append(self.now)
        return wait == 0

    def sweep(self) -> None:
        """Give lapsed permits back."""
        for account in self.accounts:
            if unused := account.lapsed(self.allowance, at(self.now)):
                self.counter.give_back(at(self.now), unused.permits, unused.day)


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 30), st.integers(0, 8 * SECOND), st.booleans()), max_size=40
)
"""Steps: a process, its calls, the time that passes afterwards, and whether unused permits go back."""


@given(RATES, STEPS)
@example(CallRate(60, 60), [(0, 30, 6 * SECOND, True), (1, 30, 6 * SECOND, True)] * 10)
@example(
    # Two processes in turn hold permits that they do not use, while the bucket is filled.
    CallRate(60, 60),
    [
        *((number, 27, 60 * SECOND, True) for number in (0, 1)),
        (0, 1, 59 * SECOND // 10, False),
        (1, 1, SECOND // 10, True),
        (2, 0, 58 * SECOND // 10, False),
        (2, 70, SECOND // 10, True),
        (3, 70, 0, False),
    ],
)
@examples(150)
def test_processes_that_share_a_rate_use_at_most_a_hold_more_of_it(
    rate: CallRate, steps: list[tuple[int, int, int, bool]]
) -> None:
    processes = Processes(rate, 4)
    for number, calls, passes, sweeps in steps:
        for _ in range(calls):
            processes.call(number)
        processes.now += passes
        if sweeps:
            processes.sweep()
    assert_within(processes.used, rate, extra=rate.hold)
    assert rate.hold <= rate.seconds * SECOND // 10


@given(QUOTAS, STEPS, st.integers(0, 60))
@examples(150)
def test_processes_that_share_a_quota_never_use_more_of_a_day(
    quota: CallQuota, steps: list[tuple[int, int, int, bool]], before: int
) -> None:
    processes = Processes(quota, 4, now=DAY - before * SECOND)
    for number, calls, passes, sweeps in steps:
        for _ in range(calls):
            processes.call(number, delay=passes // 1000)
        processes.now += passes
        if sweeps:
            processes.sweep()
    for day in {(WALL + used) // DAY for used in processes.used}:
        assert sum((WALL + used) // DAY == day for used in processes.used) <= quota.count


@given(st.integers(8, 200), st.integers(1, 4), st.lists(st.integers(0, 3), min_size=1, max_size=400))
def test_every_permit_of_a_full_bucket_is_used_by_callers_that_reach_all_processes(
    count: int, number: int, order: list[int]
) -> None:
    processes = Processes(CallRate(count, 86_400), number)
    for one in [*order, *range(number * count)]:
        processes.call(one % number)
    assert len(processes.used) == count


def test_a_busy_caller_asks_redis_seldom() -> None:
    processes = Processes(CallRate(6000, 60), 1)
    assert all(processes.call(0) for _ in range(3000))
    assert processes.questions <= 20


def test_a_refused_caller_does_not_ask_redis_each_time() -> None:
    processes = Processes(CallRate(2, 3600), 1)
    assert [processes.call(0) for _ in range(1000)].count(True) == 2
    assert processes.questions <= 3


def test_unused_permits_can_be_used_by_another_process_after_the_hold() -> None:
    rate = CallRate(100, 86_400)
    processes = Processes(rate, 2)
    for _ in range(60):
        processes.call(0)
    held = processes.accounts[0].permits
    assert held > 0
    processes.now += rate.hold
    processes.sweep()
    assert processes.accounts[0].permits == 0
    assert [processes.call(1) for _ in range(100)].count(True) in {40, 39}


def test_a_process_that_counts_alone_goes_on_from_what_it_admitted_before() -> None:
    rate = CallRate(10, 3600)
    processes = Processes(rate, 1)
    for _ in range(7):
        processes.call(0)
    account = processes.accounts[0]
    alone = 0
    while account.wait_alone(rate, at(processes.now)) == 0:
        account.take(rate, at(processes.now))
        alone += 1
    assert alone == 3


def test_a_process_that_counts_alone_admits_callers_of_a_slower_rate_again_after_a_change() -> None:
    slow, fast = CallRate(10, 86_400), CallRate(10, 60)
    account = Account()
    while account.wait_alone(slow, at(0)) == 0:
        account.take(slow, at(0))
    assert account.wait_alone(slow, at(SECOND)) > 600 * SECOND
    assert account.wait_alone(fast, at(SECOND)) == fast.each
    assert account.wait_alone(fast, at(SECOND + fast.each)) == 0


def test_a_process_pays_for_what_it_admitted_alone_with_the_next_permits() -> None:
    rate = CallRate(100, 86_400)
    processes = Processes(rate, 2)
    alone = processes.accounts[0]
    for _ in range(30):
        assert alone.wait_alone(rate, at(0)) == 0
        alone.take(rate, at(0))
    shared = [processes.call(number) for _ in range(100) for number in (0, 1)].count(True)
    assert shared == 70


def test_a_call_that_is_refused_after_all_gives_its_permit_back() -> None:
    processes = Processes(CallRate(3, 3600), 1)
    account = processes.accounts[0]
    for _ in range(20):
        assert processes.call(0)
        account.give_back(processes.allowance, at(processes.now))
    assert [processes.call(0) for _ in range(5)] == [True] * 3 + [False] * 2


def test_of_several_roles_the_most_generous_limit_of_each_kind_counts() -> None:
    found = most_generous(
        [
            ("all", CallLimits(rate=read_rate("60/minute"), quota=read_quota("100/day"))),
            ("experts", CallLimits(rate=read_rate("10/second"))),
            ("guests", CallLimits(quota=read_quota("5/day"))),
            ("others", CallLimits()),
        ]
    )
    assert found == (
        ("experts", CallLimits(rate=read_rate("10/second"))),
        ("all", CallLimits(quota=read_quota("100/day"))),
    )
