"""Quiet hours: which moments are in them, and when they end, in any time zone."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portcullis.alerts.quiet_hours import QuietHours

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "America/Havana"]
MINUTES = st.integers(0, 24 * 60 - 1)
FIRST = datetime(2024, 1, 1, tzinfo=UTC)
MOMENTS = st.timedeltas(timedelta(), timedelta(days=6 * 365)).map(lambda after: FIRST + after)


def at(minutes: int) -> time:
    return time(minutes // 60, minutes % 60)


def in_zone(begin: str, end: str, zone: str = "UTC") -> QuietHours:
    return QuietHours(time.fromisoformat(begin), time.fromisoformat(end), ZoneInfo(zone))


@given(begin=MINUTES, length=st.integers(1, 24 * 60 - 1), zone=st.sampled_from(ZONES), moment=MOMENTS)
def test_the_end_is_later_and_not_quiet_and_all_times_before_it_are(
    begin: int, length: int, zone: str, moment: datetime
) -> None:
    hours = QuietHours(at(begin), at((begin + length) % (24 * 60)), ZoneInfo(zone))
    end = hours.end_after(moment)
    if end is None:
        return
    assert moment < end <= moment + timedelta(hours=50)
    assert hours.end_after(end) is None
    for part in (1, 2, 3):
        between = moment + (end - moment) * part / 4
        later = hours.end_after(between)
        # On the day on which clocks change, an hour may occur twice or not at all.
        assert (
            later == end
            or moment.astimezone(ZoneInfo(zone)).utcoffset() != end.astimezone(ZoneInfo(zone)).utcoffset()
        )


@given(begin=MINUTES, length=st.integers(1, 24 * 60 - 1), moment=MOMENTS)
def test_a_time_is_quiet_by_its_minutes_after_the_beginning(begin: int, length: int, moment: datetime) -> None:
    hours = QuietHours(at(begin), at((begin + length) % (24 * 60)))
    after = (moment - moment.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(minutes=begin)) % (
        timedelta(days=1)
    )
    assert (hours.end_after(moment) is not None) == (after < timedelta(minutes=length))


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        ("2026-11-30T21:59:59", None),
        ("2026-11-30T22:00:00", "2026-12-01T07:00:00"),
        ("2026-12-01T06:59:59", "2026-12-01T07:00:00"),
        ("2026-12-01T07:00:00", None),
    ],
)
def test_hours_over_midnight_end_the_next_morning(moment: str, end: str | None) -> None:
    found = in_zone("22:00", "07:00").end_after(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert found == (None if end is None else datetime.fromisoformat(end).replace(tzinfo=UTC))


def test_the_hours_are_in_the_time_zone() -> None:
    moment = datetime(2026, 7, 1, 21, 30, tzinfo=UTC)
    assert in_zone("22:00", "07:00").end_after(moment) is None
    assert in_zone("22:00", "07:00", "Europe/Berlin").end_after(moment) == datetime(2026, 7, 2, 5, tzinfo=UTC)


def test_of_an_end_that_occurs_twice_the_next_one_counts() -> None:
    # On 2026-10-25 clocks of Berlin show 02:00 to 03:00 twice.
    hours = in_zone("01:00", "02:30", "Europe/Berlin")
    assert hours.end_after(datetime(2026, 10, 25, 0, 15, tzinfo=UTC)) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert hours.end_after(datetime(2026, 10, 25, 1, 15, tzinfo=UTC)) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
