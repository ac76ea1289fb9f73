"""Runs of detection rules for alerts: how far back they read, their cost, and incomplete records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from oauth_core.audit import EventKind
from portcullis.alerts.looking import FAULT_SECONDS, Gateway, Looker
from portcullis.alerts.outbox import Outbox
from portcullis.audit.sealing import Sealing
from tests.support.audit_sealing import START, SealedWorld
from tests.support.audit_segments import SegmentWriter
from tests.unit.detection_rules import shipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from portcullis.detection.rules import DetectionRule

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0


@dataclass
class Looking:
    """A looker with a clock that the test moves. A run takes `costs` seconds of processor time."""

    world: SealedWorld
    outbox: Outbox
    now: float = START.timestamp() + HOUR
    costs: float = 0.0
    _used: float = 0.0

    def looker(self, *rules: DetectionRule) -> Looker:
        return Looker(
            self.world.audit_dir,
            rules or tuple(shipped()[name] for name in ("refresh_token_reuse",)),
            {"hook": "low"},
            Gateway("https://gate.example", "node-1"),
            lambda: Sealing(self.world.audit_dir, self.world.key.public),
            window=HOUR,
            interval=MINUTE,
            now=lambda: self.now,
            monotonic=lambda: self.now,
            processor=self._processor,
        )

    def _processor(self) -> float:
        """The processor clock: each second reading of it is the end of a run."""
        used = self._used
        self._used += self.costs / 2
        return used * 2 if self.costs else 0.0

    def subjects(self) -> list[str]:
        return sorted(one.alert.subject for one in self.outbox.newest(100))


@pytest.fixture
def looking(tmp_path: Path) -> Iterator[Looking]:
    outbox = Outbox(tmp_path / "alerts.sqlite3")
    yield Looking(SealedWorld(tmp_path), outbox)
    outbox.close()


def reuse(grant: str, minutes: float) -> dict[str, object]:
    time = datetime.fromtimestamp(START.timestamp() + minutes * 60, UTC)
    return {
        "v": 1,
        "time": time.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "event": str(EventKind.REFRESH_REUSED),
        "outcome": "denied",
        "grant_id": grant,
    }


def test_the_first_run_covers_an_hour_and_the_next_one_continues_from_it(looking: Looking) -> None:
    writer, looker = SegmentWriter(looking.world.audit_dir), looking.looker()
    looking.now += HOUR
    writer.write(reuse("too old", 59), reuse("in the hour", 61))
    looking.world.seal()
    looker.step(looking.outbox)
    assert looking.subjects() == ["grant_id in the hour"]
    looking.now += 3 * DAY  # as if the program was stopped
    writer.write(reuse("meanwhile", 24 * 60))
    looking.world.seal()
    looking.looker().step(looking.outbox)
    assert looking.subjects() == ["grant_id in the hour", "grant_id meanwhile"]


def test_an_event_that_a_writer_stores_late_is_found(looking: Looking) -> None:
    writer, looker = SegmentWriter(looking.world.audit_dir), looking.looker()
    writer.write(reuse("in time", 55))
    looking.world.seal()
    looker.step(looking.outbox)
    writer.write(reuse("late", 54))
    looking.world.seal()
    looking.now += MINUTE
    looker.step(looking.outbox)
    assert looking.subjects() == ["grant_id in time", "grant_id late"]
    assert [one.more for one in looking.outbox.newest(9)] == [0, 0]


def test_an_event_is_found_once_it_is_sealed_however_late(looking: Looking) -> None:
    writer, looker = SegmentWriter(looking.world.audit_dir), looking.looker()
    looking.world.seal()
    writer.write(reuse("sealed late", 55))
    for _ in range(30):
        looker.step(looking.outbox)
        looking.now += 10 * MINUTE
    assert set(looking.subjects()) == {""}  # alerts that detection is incomplete
    looking.world.seal()
    looker.step(looking.outbox)
    assert "grant_id sealed late" in looking.subjects()


def test_detection_without_a_checkpoint_is_an_alert_after_ten_minutes_and_once_an_hour(looking: Looking) -> None:
    looker = looking.looker()
    looker.step(looking.outbox)
    assert looking.outbox.newest(9) == []
    assert looking.outbox.last_look()[1] == "nothing can be looked at: not sealed: no checkpoint"
    looking.now += FAULT_SECONDS
    for _ in range(30):
        looker.step(looking.outbox)
        looking.now += MINUTE
    [listed] = looking.outbox.newest(9)
    assert (listed.alert.rule, listed.alert.level) == ("detection_incomplete", "high")
    assert "no checkpoint" in listed.alert.reason
    looking.now += HOUR
    looker.step(looking.outbox)
    assert len(looking.outbox.newest(9)) == 2
    looking.world.seal()
    looking.now += MINUTE
    looker.step(looking.outbox)
    assert looking.outbox.last_look()[1] is None


def test_a_short_fault_makes_no_alert(looking: Looking) -> None:
    looker = looking.looker()
    looker.step(looking.outbox)
    looking.world.seal()
    looking.now += FAULT_SECONDS
    looker.step(looking.outbox)
    assert looking.outbox.newest(9) == []


def test_a_long_run_delays_the_next_one_by_nine_times_its_duration(looking: Looking) -> None:
    looking.world.seal()
    looker = looking.looker()
    assert looker.step(looking.outbox) == MINUTE
    looking.now += MINUTE
    looking.costs = 30.0
    assert looker.step(looking.outbox) == pytest.approx(9 * 30)


def test_rules_with_a_long_history_do_not_delay_the_quick_ones(looking: Looking) -> None:
    looking.world.seal()
    quick, long = shipped()["refresh_token_reuse"], shipped()["operator_unusual_hour"]
    looker = looking.looker(quick, long)
    assert looker.step(looking.outbox) == MINUTE
    [of_quick, of_long] = looker._batches
    assert (of_quick.rules, of_long.rules) == ([quick], [long])
    of_long.due += DAY
    looking.now += MINUTE
    assert looker.step(looking.outbox) == MINUTE


def test_a_clock_that_was_set_back_causes_no_run_and_no_fault(looking: Looking) -> None:
    looking.world.seal()
    looker = looking.looker()
    looker.step(looking.outbox)
    looking.now -= 2 * HOUR
    looking.looker().step(looking.outbox)
    assert looking.outbox.last_look()[1] is None
