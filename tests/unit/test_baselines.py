"""Baselines: what they learn, what they find unusual, and how they are kept."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.audit import EventKind
from portcullis.alerts.learning import Learner
from portcullis.alerts.outbox import Outbox
from portcullis.audit import moments
from portcullis.audit.sealing import Sealing
from portcullis.cli.main import cli
from portcullis.detection import profiles
from portcullis.detection.baselines import Baseline
from portcullis.detection.profiles import FILE_NAME, Profiles
from tests.support.audit_sealing import START, SealedWorld
from tests.support.audit_segments import SegmentWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from click.testing import Result

DAY = 24
MONA: dict[str, Any] = {"user": "mona", "user_id": 7, "client_id": "editor"}


def learnt(calls: int = 50, days: int = 12, hours: tuple[int, ...] = (8, 9, 10, 11)) -> Baseline:
    made = Baseline()
    for day in range(days):
        for hour in hours:
            made.learn(calls, day * DAY + hour)
    return made


def test_more_calls_than_ever_are_unusual_and_the_usual_number_is_not() -> None:
    made = learnt()
    now = 12 * DAY + 9
    assert not made.judge(60, now).is_excessive
    assert not made.judge(120, now).is_excessive
    assert made.judge(1000, now).is_excessive


@pytest.mark.parametrize("days", [0, 1, 4])
def test_a_person_who_is_new_has_no_bound(days: int) -> None:
    assert learnt(days=days).judge(100_000, 20 * DAY).bound is None


def test_few_calls_are_never_unusual() -> None:
    assert not learnt(calls=1).judge(60, 12 * DAY + 9).is_excessive
    assert learnt(calls=1).judge(61, 12 * DAY + 9).is_excessive


def test_an_hour_of_a_thief_does_not_make_the_next_one_usual() -> None:
    made = learnt()
    for hour in range(2):
        made.learn(1_000_000, 12 * DAY + 9 + hour)
    assert made.judge(10_000, 12 * DAY + 11).is_excessive


def test_a_new_habit_is_usual_after_some_days() -> None:
    made, found = learnt(), []
    for day in range(12, 20):
        for hour in (8, 9, 10, 11):
            found.append(made.judge(400, day * DAY + hour).is_excessive)
            made.learn(400, day * DAY + hour)
    assert found[0]
    assert not any(found[8:])


def test_an_hour_is_new_only_far_from_the_usual_ones_and_after_ten_days() -> None:
    assert not learnt().judge(5, 12 * DAY + 12).is_new_hour
    assert not learnt().judge(5, 12 * DAY + 7).is_new_hour
    assert learnt().judge(5, 12 * DAY + 3).is_new_hour
    assert not learnt(days=9).judge(5, 9 * DAY + 3).is_new_hour
    assert not learnt(hours=(0, 23)).judge(5, 13 * DAY).is_new_hour


@given(st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 10**6)), max_size=60))
def test_any_history_gives_finite_numbers_that_are_stored_and_read(hours: list[tuple[int, int]]) -> None:
    made = Baseline()
    for calls, hour in hours:
        made.learn(calls, hour)
    assert Baseline.of(made.document()) == made
    bound = made.judge(5, 0).bound
    assert bound is None or bound >= 60


# -- from the record to an alert -------------------------------------------------------------------------------


@dataclass
class Learning:
    """A record with calls, and a learner whose clock the test moves."""

    world: SealedWorld
    writer: SegmentWriter
    outbox: Outbox
    now: datetime = START

    def call(self, hour: datetime, count: int, **fields: Any) -> None:
        """Record calls in an hour."""
        given = MONA | fields
        kind = EventKind.ACCESS_ALLOWED
        every = timedelta(hours=1) / count
        self.writer.write(
            *(
                {"v": 1, "time": moments.recorded(hour + number * every), "event": str(kind), "outcome": "allowed"}
                | given
                for number in range(count)
            )
        )

    def step(self, lowest: str = "informational") -> list[str]:
        """One step of a new learner, as after a restart."""
        return Learner(
            self.world.audit_dir,
            self.world.audit_dir.parent / FILE_NAME,
            {"hook": lowest},
            "https://gate.example",
            "node-1",
            lambda: Sealing(self.world.audit_dir, self.world.key.public),
            3600.0,
            self.now.timestamp,
        ).step(self.outbox)

    def step_until_learnt(self) -> None:
        """As many steps as there are hours that wait."""
        for _ in range(15):
            self.step()

    def alerts(self) -> list[tuple[str, str]]:
        """The rules and subjects in the outbox."""
        return sorted((one.alert.rule, one.alert.subject) for one in self.outbox.newest(99))


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[Learning]:
    world = SealedWorld(tmp_path)
    writer = SegmentWriter(world.audit_dir)
    writer.path.unlink()
    writer.encoder, writer.index = type(writer.encoder)(), 0
    writer.open_segment("2026-11-01T00:00:00.000000Z")
    with closing(Outbox(tmp_path / "alerts.sqlite3")) as outbox:
        made = Learning(world, writer, outbox)
        midnight = START.replace(hour=0)
        for day in range(12, 0, -1):
            for hour in (8, 9, 10, 11):
                made.call(midnight - timedelta(days=day) + timedelta(hours=hour), 6)
        yield made


def test_a_burst_and_a_new_hour_become_alerts_that_name_the_numbers(learning: Learning) -> None:
    learning.call(START - timedelta(hours=3), 300)
    learning.world.seal()
    learning.step_until_learnt()
    assert learning.alerts() == [("unusual_hour", "user_id 7"), ("unusual_requests", "user_id 7")]
    [alert] = [one.alert for one in learning.outbox.newest(9) if one.alert.rule == "unusual_requests"]
    assert alert.because == (
        "300 calls in one hour, more than 60; usual are 6 in an hour with calls, and 6 at most, "
        "from 48 hours on 12 days"
    )
    assert alert.values["user"] == {"shown": ["mona"], "count": 1}
    assert list(alert.end) == ["portcullis users revoke id:7"]


def test_usual_calls_make_no_alert_and_neither_does_a_person_who_is_new(learning: Learning) -> None:
    learning.call(START - timedelta(hours=20), 12)
    learning.call(START - timedelta(hours=3), 500, user="lisa", user_id=8)
    learning.world.seal()
    learning.step_until_learnt()
    assert learning.alerts() == []


def test_an_hour_is_learnt_once_also_by_the_next_process(learning: Learning) -> None:
    learning.world.seal()
    learning.step_until_learnt()

    def stored() -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(learning.world.audit_dir.parent / FILE_NAME)) as database:
            return database.execute("SELECT * FROM profiles").fetchall()

    before = stored()
    learning.step_until_learnt()
    assert stored() == before
    assert len(before) == 1


def test_an_hour_that_is_not_sealed_waits(learning: Learning) -> None:
    learning.world.seal()
    learning.call(START - timedelta(hours=3), 300)
    learning.step_until_learnt()
    assert learning.alerts() == []
    learning.world.seal()
    learning.step_until_learnt()
    assert ("unusual_requests", "user_id 7") in learning.alerts()


def test_an_old_burst_is_learnt_without_an_alert(learning: Learning) -> None:
    learning.call(START - timedelta(hours=40), 300)
    learning.world.seal()
    learning.step_until_learnt()
    assert learning.alerts() == []


def test_a_level_that_no_destination_takes_makes_no_alert(learning: Learning) -> None:
    learning.call(START - timedelta(hours=3), 300)
    learning.world.seal()
    for _ in range(15):
        learning.step("medium")
    assert learning.alerts() == [("unusual_requests", "user_id 7")]


def test_a_client_that_acts_as_itself_has_a_baseline_too(learning: Learning) -> None:
    alone = {"user": None, "user_id": None, "client_id": "robot"}
    for day in range(12, 0, -1):
        for hour in (8, 9):
            learning.call(START.replace(hour=hour) - timedelta(days=day), 6, **alone)
    learning.call(START - timedelta(hours=3), 300, **alone)
    learning.world.seal()
    learning.step_until_learnt()
    assert ("unusual_requests", "client_id robot") in learning.alerts()


def test_a_damaged_file_of_profiles_is_a_fault(learning: Learning) -> None:
    learning.world.seal()
    (learning.world.audit_dir.parent / FILE_NAME).write_bytes(b"no database" * 100)
    [fault] = learning.step()
    assert "baselines cannot be used" in fault


def test_the_profiles_are_bounded_and_for_their_owner_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profiles, "MOST_PROFILES", 10)
    path = tmp_path / FILE_NAME
    with closing(Profiles(path)) as kept:
        for hour in range(3):
            kept.keep(hour, {f"user {hour}-{number}": Baseline() for number in range(8)})
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT count(*), min(hour) FROM profiles").fetchone() == (10, 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_profile_goes_after_ninety_days_without_a_call(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    with closing(Profiles(path)) as kept:
        kept.keep(100, {"user 7": Baseline()})
        kept.keep(101, {"user 8": Baseline()})
        kept.keep(100 + 90 * 24 + 1, {})
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT subject FROM profiles").fetchall() == [("user 8",)]


def test_recorded_times_are_those_of_the_hour() -> None:
    assert profiles.hour_of(datetime(1970, 1, 2, 1, 59, tzinfo=UTC).timestamp()) == 25


# -- over the past -----------------------------------------------------------------------------------------------


def detect(learning: Learning, since: str, until: str, *options: str) -> Result:
    """Run `portcullis audit detect` with baselines and one rule, which finds nothing here."""
    place = ("--audit-dir", str(learning.world.audit_dir), "--since", since, "--until", until)
    rule = ("--rule", "refresh_token_reuse", "--baselines", "--json")
    return CliRunner().invoke(cli, ["audit", "detect", *place, *rule, *options])


def test_hours_of_the_past_are_judged_by_what_was_known_then(learning: Learning) -> None:
    learning.call(START.replace(hour=3), 300)
    learning.world.seal()
    result = detect(learning, "2026-11-30T00:00:00Z", "2026-11-30T06:00:00Z")
    assert result.exit_code == 3, result.output
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [(one["rule"], one["group"], one["events"]) for one in found] == [
        ("unusual_requests", {"user_id": "7"}, 300),
        ("unusual_hour", {"user_id": "7"}, 300),
    ]
    assert found[0]["condition"].startswith("300 calls in one hour, more than 60; usual are 6 in an hour")
    assert "Baselines: 6 hours judged, 1 of a person or client unusual." in result.stderr
    before = detect(learning, "2026-11-29T00:00:00Z", "2026-11-30T00:00:00Z")
    assert (before.exit_code, before.stdout) == (0, ""), "the burst comes later"
    assert list(learning.world.audit_dir.parent.glob(f"{FILE_NAME}*")) == [], "nothing is kept"


def test_hours_of_the_past_that_are_not_sealed_are_judged_with_the_option_only(learning: Learning) -> None:
    learning.world.seal()
    learning.call(START.replace(hour=3), 300)
    period = ("2026-11-30T00:00:00Z", "2026-11-30T06:00:00Z")
    result = detect(learning, *period)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "hours from 2026-11-30T03:00:00.000000Z on are not judged" in result.stderr
    unsealed = detect(learning, *period, "--unsealed")
    assert unsealed.exit_code == 3
    assert {json.loads(line)["rule"] for line in unsealed.stdout.splitlines()} == {
        "unusual_requests",
        "unusual_hour",
    }


def test_an_unusual_hour_of_the_past_is_shown_to_people_with_its_numbers(learning: Learning) -> None:
    learning.call(START.replace(hour=3), 300)
    place = ("--audit-dir", str(learning.world.audit_dir), "--since", "2026-11-30T00:00:00Z")
    period = (*place, "--until", "2026-11-30T06:00:00Z", "--baselines", "--unsealed")
    result = CliRunner().invoke(cli, ["audit", "detect", *period])
    assert "MEDIUM  More calls than usual  (unusual_requests)" in result.stdout
    assert "  people    mona" in result.stdout
    assert "  because   300 calls in one hour, more than 60" in result.stdout
