"""The outbox and the couriers, with a clock that the test moves: one alert for each cause, back-off, giving up."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portcullis.alerts import outbox as outboxes
from portcullis.alerts.alert import Alert
from portcullis.alerts.delivering import FIRST_WAIT, LONGEST_WAIT, Courier, wait_after
from portcullis.alerts.destinations import Destination
from portcullis.alerts.outbox import Found, Outbox, OutboxError, Silence
from portcullis.alerts.quiet_hours import QuietHours
from portcullis.alerts.sending import BoundedSender, NotTakenError, busy_seconds
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR = 3600.0
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
LOWEST = {"hook": "medium"}

Values = dict[str, dict[str, Any]]


def found(
    cause: str = "one", number: int = 0, *, rule: str = "reuse", level: str = "high", values: Values | None = None
) -> Found:
    """A finding whose last event has this number."""
    alert = Alert(outboxes.new_id(), "2026-11-30T12:00:00.000000Z", rule, "Reuse", level, "Why.", cause, "g", "n")
    return Found(replace(alert, values=values or {}), cause, f"2026-11-30T12:00:00.{number:06}Z")


@dataclass
class Sender:
    """A destination that refuses while it has a fault, and always refuses the alert with the id `refuses`."""

    fault: NotTakenError | Exception | None = None
    sent: list[str] = field(default_factory=list)
    attempts: int = 0
    refuses: str = ""
    address = "test://"

    def send(self, alert: Alert) -> None:
        self.attempts += 1
        if self.fault is not None:
            raise self.fault
        if alert.id == self.refuses:
            raise NotTakenError.answered(400, None, 0.0)
        self.sent.append(alert.id)


@dataclass
class Desk:
    """An outbox, one destination, and the time."""

    path: Path
    outbox: Outbox
    sender: Sender
    now: float = NOON
    reports: list[str] = field(default_factory=list)
    quiet: QuietHours | None = None

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Start again from the state on the disk."""
        self.outbox.close()
        self.outbox = Outbox(self.path)
        destination = Destination("hook", "medium", BoundedSender(self.sender))
        self.courier = Courier(
            destination, self.quiet, 24 * HOUR, self.reports.append, now=lambda: self.now, share=lambda: 0.0
        )

    def add(self, *given: Found, window: float = HOUR) -> list[bool]:
        return [self.outbox.add(one, LOWEST, now=self.now, window=window) for one in given]

    def deliver(self, seconds: float = 0.0) -> bool:
        self.now += seconds
        return self.courier.deliver(self.outbox)

    @property
    def states(self) -> dict[str, str]:
        """The state of each delivery, by the subject of its alert."""
        return {one.alert.subject: each.state for one in self.outbox.newest(100) for each in one.deliveries}


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    path = tmp_path / "alerts.sqlite3"
    made = Desk(path, Outbox(path), Sender())
    yield made
    made.outbox.close()


# -- one alert for each cause ----------------------------------------------------------------------------------


def test_a_cause_makes_another_alert_only_after_its_window(desk: Desk) -> None:
    assert desk.add(found(number=1), found(number=2)) == [True, False]
    desk.now += HOUR - 1
    assert desk.add(found(number=3)) == [False]
    desk.now += 1
    assert desk.add(found(number=4)) == [True]
    assert [one.more for one in desk.outbox.newest(9)] == [0, 2]


def test_an_event_that_was_counted_is_not_counted_again(desk: Desk) -> None:
    assert desk.add(found(number=2)) == [True]
    desk.now += 2 * HOUR
    assert desk.add(found(number=2), found(number=1)) == [False, False]
    assert [one.more for one in desk.outbox.newest(9)] == [0]


def test_each_rule_and_cause_has_its_own_window(desk: Desk) -> None:
    assert desk.add(found("one"), found("two"), found("one", rule="other")) == [True, True, True]


def test_many_causes_of_a_rule_become_one_alert_and_each_is_counted_once(desk: Desk) -> None:
    causes = [found(str(number)) for number in range(100)]
    made = desk.add(*causes)
    assert sum(made) == outboxes.MOST_OF_RULE + 1
    assert desk.add(*causes) == [False] * 100
    newest = desk.outbox.newest(1)[0]
    assert newest.more == 100 - outboxes.MOST_OF_RULE - 1
    assert "more than 10 causes" in newest.alert.title
    assert desk.add(found("1", rule="other")) == [True]


def test_a_level_below_that_of_the_destination_is_stored_and_not_sent(desk: Desk) -> None:
    desk.add(found(level="low"))
    desk.deliver()
    assert (desk.sender.sent, desk.states) == ([], {})
    assert len(desk.outbox.newest(9)) == 1


def test_the_outbox_is_bounded_and_waiting_alerts_are_kept_longer(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "MOST_ALERTS", 3)
    for number in range(4):
        desk.now += 1
        desk.add(found(str(number), rule=str(number), level="high" if number == 0 else "low"))
    desk.outbox.prune(desk.now)
    assert [one.alert.subject for one in desk.outbox.newest(9)] == ["3", "2", "0"]
    desk.outbox.prune(desk.now + outboxes.KEPT_SECONDS + 1)
    assert [one.alert.subject for one in desk.outbox.newest(9)] == ["0"]


# -- delivery --------------------------------------------------------------------------------------------------


def test_an_alert_waits_over_a_restart_until_the_destination_accepts_it(desk: Desk) -> None:
    desk.sender.fault = NotTakenError("it answers 503")
    desk.add(found())
    assert not desk.deliver()
    desk.restart()
    desk.sender.fault = None
    assert desk.deliver(FIRST_WAIT - 1)  # not due yet
    assert desk.sender.sent == []
    assert desk.deliver(1)
    [listed] = desk.outbox.newest(9)
    assert desk.sender.sent == [listed.alert.id]
    assert [(each.state, each.attempts, each.fault) for each in listed.deliveries] == [("sent", 2, None)]
    desk.deliver(30 * HOUR)
    assert len(desk.sender.sent) == 1


def test_an_accepted_alert_is_sent_again_if_the_program_ends_before_it_stores_that(desk: Desk) -> None:
    desk.add(found())
    delivery = desk.outbox.next_due("hook", desk.now)
    assert delivery is not None
    desk.sender.send(delivery.alert)
    desk.restart()
    desk.deliver()
    assert desk.sender.sent == [delivery.alert.id] * 2


def test_a_failing_destination_is_reported_once_and_its_recovery_too(desk: Desk) -> None:
    desk.sender.fault = NotTakenError("it answers 503")
    desk.add(found("one"), found("two"))
    for _ in range(5):
        desk.deliver(HOUR)
    desk.sender.fault = None
    desk.deliver(HOUR)
    assert desk.reports == ["hook: it answers 503; trying again", "hook: it takes alerts again"]
    assert len(desk.sender.sent) == 2


def test_after_a_failed_attempt_no_other_alert_is_tried_in_this_pass(desk: Desk) -> None:
    desk.sender.fault = NotTakenError("no answer")
    desk.add(*(found(str(number)) for number in range(5)))
    desk.deliver()
    assert desk.sender.attempts == 1


def test_a_refused_alert_does_not_delay_the_others(desk: Desk) -> None:
    desk.add(*(found(str(number)) for number in range(5)))
    refused = desk.outbox.newest(9)[-1].alert.id
    desk.sender.refuses = refused
    assert not desk.deliver()
    assert len(desk.sender.sent) == 4
    # Neither now, nor while the refused one is retried.
    for number in range(5, 20):
        desk.deliver(LONGEST_WAIT)
        desk.add(found(str(number)))
        desk.deliver()
        assert len(desk.sender.sent) == number
    assert desk.sender.attempts > len(desk.sender.sent) + 10


def test_a_destination_that_does_not_answer_gets_a_new_alert_soon(desk: Desk) -> None:
    desk.sender.fault = NotTakenError("no answer")
    desk.add(found("old"))
    for _ in range(20):
        desk.deliver(LONGEST_WAIT)
    desk.sender.fault = None
    desk.add(found("new"))
    desk.deliver(29)
    assert desk.sender.sent == []
    desk.deliver(1)
    assert len(desk.sender.sent) == 2


def test_a_destination_that_asks_for_a_pause_gets_nothing_until_its_end(desk: Desk) -> None:
    desk.sender.fault = NotTakenError.answered(429, "600", desk.now)
    desk.add(found("one"))
    desk.deliver()
    desk.sender.fault = None
    desk.add(found("two", level="critical"))
    assert not desk.deliver(599)
    assert desk.sender.attempts == 1
    assert desk.deliver(1)
    assert len(desk.sender.sent) == 2


def test_a_clock_that_was_set_back_ends_a_pause(desk: Desk) -> None:
    desk.sender.fault = NotTakenError.answered(503, "3600", desk.now)
    desk.add(found("one"))
    desk.deliver()
    desk.sender.fault = None
    desk.now -= 48 * HOUR
    desk.add(found("two"))
    assert desk.deliver()
    assert len(desk.sender.sent) == 2


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "7", 15.0),
        (429, "120", 120.0),
        (429, None, 15.0),
        (429, "soon", 15.0),
        (503, " 30 ", 30.0),
        (503, None, 0.0),
        (503, "-5", 0.0),
        (503, "1.5", 0.0),
        (503, "99999999999999", 3600.0),
        (503, "Mon, 30 Nov 2026 12:10:00 GMT", 600.0),
        (503, "Mon, 30 Nov 2026 11:00:00 GMT", 0.0),
        (503, "Mon, 30 Nov 2099 12:10:00 GMT", 3600.0),
        (400, "600", 0.0),
        (500, "600", 0.0),
        (302, "600", 0.0),
    ],
)
def test_retry_after_is_used_for_429_and_503_and_is_bounded(status: int, text: str | None, seconds: float) -> None:
    assert busy_seconds(status, text, NOON) == seconds


@given(st.sampled_from([200, 302, 400, 429, 500, 503]), st.none() | st.text(max_size=60), st.floats(0, 1e11))
def test_any_text_of_retry_after_is_a_bounded_wait(status: int, text: str | None, now: float) -> None:
    assert 0 <= busy_seconds(status, text, now) <= 3600


def test_all_waiting_alerts_are_sent_when_the_destination_accepts_one(desk: Desk) -> None:
    desk.sender.fault = NotTakenError("no answer")
    desk.add(*(found(str(number)) for number in range(5)))
    for _ in range(20):
        desk.deliver(LONGEST_WAIT)
    desk.sender.fault = None
    desk.now += LONGEST_WAIT
    desk.deliver()
    assert len(desk.sender.sent) == 5


def test_an_undelivered_alert_is_given_up_after_a_day_and_the_list_has_the_reason(desk: Desk) -> None:
    desk.sender.fault = NotTakenError("it answers 503")
    desk.add(found())
    for _ in range(30):
        desk.deliver(HOUR)
    [listed] = desk.outbox.newest(9)
    [delivery] = listed.deliveries
    assert (delivery.state, delivery.fault) == ("failed", "it answers 503")
    assert desk.reports[-1] == f"hook: alert {listed.alert.id} is given up: it answers 503"
    assert delivery.ended is not None
    assert 24 * HOUR <= delivery.ended - (delivery.first or 0) <= 25 * HOUR
    attempts = desk.sender.attempts
    desk.deliver(HOUR)
    assert desk.sender.attempts == attempts


def test_an_overdue_alert_without_an_attempt_gets_one_attempt(desk: Desk) -> None:
    desk.add(found())
    desk.deliver(100 * HOUR)
    assert len(desk.sender.sent) == 1


def test_any_error_of_a_sender_is_a_failed_attempt_and_its_text_is_not_stored(desk: Desk) -> None:
    desk.sender.fault = RuntimeError("with a secret")
    desk.add(found())
    assert not desk.deliver()
    [delivery] = desk.outbox.newest(1)[0].deliveries
    assert (delivery.state, delivery.fault) == ("waiting", "it failed (RuntimeError)")


def test_a_receiver_that_never_answers_blocks_one_attempt_only() -> None:
    released = threading.Event()

    class Silent(Sender):
        def send(self, alert: Alert) -> None:
            released.wait()
            super().send(alert)

    silent = Silent()
    sender = BoundedSender(silent, 0.01)
    with pytest.raises(NotTakenError, match=r"no answer after 0\.01 seconds"):
        sender.send(found().alert)
    with pytest.raises(NotTakenError, match="an earlier attempt has not ended"):
        sender.send(found().alert)
    released.set()
    until(lambda: silent.sent, "the first attempt to end")
    assert silent.attempts == 1


def test_an_alert_for_a_destination_that_was_removed_is_given_up(desk: Desk) -> None:
    desk.add(found())
    desk.outbox.keep_destinations(["other"], desk.now)
    assert desk.states == {"one": "failed"}


@given(attempts=st.integers(0, 10_000), share=st.floats(0, 1))
def test_the_back_off_grows_to_an_hour_and_is_never_short(attempts: int, share: float) -> None:
    assert FIRST_WAIT / 2 <= wait_after(attempts, share) <= LONGEST_WAIT
    assert wait_after(attempts, share) <= wait_after(attempts + 1, share)


# -- quiet hours and silences ----------------------------------------------------------------------------------


def test_in_quiet_hours_only_critical_alerts_are_sent(desk: Desk) -> None:
    desk.quiet = QuietHours(time(11), time(13))
    desk.restart()
    desk.add(found("high"), found("critical", level="critical"))
    desk.deliver()
    assert desk.states == {"high": "waiting", "critical": "sent"}
    desk.deliver(HOUR - 1)
    assert desk.states["high"] == "waiting"
    desk.deliver(1)
    assert desk.states["high"] == "sent"
    assert desk.sender.attempts == 2


def silence(rule: str = "reuse", *, person: str | None = None, client: str | None = None) -> Silence:
    return Silence("s1", rule, person, client, NOON, NOON + HOUR, "root", "why")


def values(name: str, *shown: str, count: int | None = None) -> Values:
    return {name: {"shown": list(shown), "count": count or len(shown)}}


def test_a_silence_ends_at_its_time(desk: Desk) -> None:
    desk.outbox.silence(silence())
    desk.add(found(number=1))
    desk.now += HOUR
    # The silenced alert was not sent, so it does not suppress the next one.
    assert desk.add(found(number=2)) == [True]
    desk.deliver()
    assert len(desk.sender.sent) == 1


def test_findings_of_a_silenced_cause_are_counted(desk: Desk) -> None:
    desk.outbox.silence(silence())
    assert desk.add(found(number=1), found(number=2)) == [True, False]
    assert [(one.silence, one.more) for one in desk.outbox.newest(9)] == [("s1", 1)]


@pytest.mark.parametrize(
    ("of", "concerned", "covers"),
    [
        ({}, {}, True),
        ({"person": "Mona"}, values("user", "mona"), True),
        ({"person": "7"}, values("user_id", "7"), True),
        ({"person": "mona"}, values("user", "mona", "lisa"), False),
        ({"person": "mona"}, values("user", "mona", count=2), False),
        ({"person": "mona"}, {}, False),
        ({"client": "editor"}, values("client_id", "editor"), True),
        ({"person": "mona", "client": "editor"}, values("user", "mona"), False),
    ],
)
def test_a_silence_with_a_person_or_client_covers_only_alerts_about_it(
    of: dict[str, str], concerned: Values, covers: bool
) -> None:
    assert silence(**of).covers(found(values=concerned).alert) is covers
    assert not silence("other", **of).covers(found(values=concerned).alert)


# -- the file --------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_outbox_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "alerts.sqlite3"
    path.write_text("something else, and long enough to be no database at all", encoding="utf-8")
    with pytest.raises(OutboxError, match=r"alerts\.sqlite3"):
        Outbox(path)


def test_a_symbolic_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    path, other = tmp_path / "alerts.sqlite3", tmp_path / "other"
    path.symlink_to(other)
    with pytest.raises(OutboxError):
        Outbox(path)
    assert not other.exists()
