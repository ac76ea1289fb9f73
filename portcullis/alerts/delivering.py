"""Delivers what waits in the outbox: one thread for each destination, so that none waits for another one."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portcullis.alerts.outbox import Outbox, OutboxError
from portcullis.alerts.sending import LONGEST_BUSY, NotTakenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portcullis.alerts.destinations import Destination
    from portcullis.alerts.metrics import Counts
    from portcullis.alerts.outbox import Delivery
    from portcullis.alerts.quiet_hours import QuietHours

FIRST_WAIT = 15.0
LONGEST_WAIT = 3600.0
_LONGEST_PAUSE = 30.0
"""How long a destination that did not answer gets no other alert either, in seconds."""
_LOOK_AGAIN = 5.0
"""Seconds after which a thread looks for what commands of operators have changed."""
_ERRORS_WAIT = 30.0


def wait_after(attempts: int, share: float) -> float:
    """Return the seconds until the next attempt: twice as many after each one, less a part of up to a half.

    `share` is random, from 0 to 1, so that many waiting alerts do not come at once.
    """
    longest = min(FIRST_WAIT * 2.0 ** min(attempts, 20), LONGEST_WAIT)
    return longest * (1 - share / 2)


@dataclass
class Courier:
    """Delivers to one destination. `now` is in seconds since the epoch."""

    destination: Destination
    quiet_hours: QuietHours | None
    give_up: float
    report: Callable[[str], None]
    counts: Counts | None = None
    now: Callable[[], float] = time.time
    share: Callable[[], float] = field(default=secrets.SystemRandom().random)
    failures: int = 0
    """Failed attempts since the destination took an alert."""
    paused_until: float = 0.0
    """Until then nothing is sent: the destination did not answer, or asked for it."""

    def deliver(self, outbox: Outbox, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Send what is due. Return whether no attempt failed and nothing had to wait for the destination.

        An alert that the destination refuses does not delay the others: a receiver may refuse a text that a caller
        chose. If the destination does not answer, or asks for a pause, all wait. Raises `OutboxError`.
        """
        is_complete = True
        while not is_stopping() and (delivery := outbox.next_due(self.destination.name, self.now())) is not None:
            if (end := self._quiet_until(delivery)) is not None:
                outbox.wait_until(delivery, end)
            elif self.is_paused or not self._attempt(delivery, outbox):
                is_complete = False
                if self.is_paused:
                    break
        return is_complete

    @property
    def is_paused(self) -> bool:
        """Whether nothing is sent now. A clock that was set back does not make a pause longer than the longest."""
        return 0 < self.paused_until - self.now() <= LONGEST_BUSY

    def _quiet_until(self, delivery: Delivery) -> float | None:
        if self.quiet_hours is None or delivery.alert.is_urgent:
            return None
        end = self.quiet_hours.end_after(datetime.fromtimestamp(self.now(), UTC))
        return None if end is None else end.timestamp()

    def _attempt(self, delivery: Delivery, outbox: Outbox) -> bool:
        name = self.destination.name
        try:
            self.destination.sender.send(delivery.alert)
        except NotTakenError as error:
            now = self.now()
            first = now if delivery.first is None else delivery.first
            again = now + max(wait_after(delivery.attempts, self.share()), error.busy)
            has_ended = error.is_final or now - first >= self.give_up
            outbox.refused(delivery, str(error), now, again=None if has_ended else again)
            if self.counts is not None:
                self.counts.failed(name, is_given_up=has_ended)
            if has_ended:
                self.report(f"{name}: alert {delivery.alert.id} is given up: {error}")
            elif not self.failures:
                self.report(f"{name}: {error}; trying again")
            self.paused_until = now + (
                error.busy if error.was_answered else min(wait_after(self.failures, self.share()), _LONGEST_PAUSE)
            )
            self.failures += 1
            return False
        outbox.taken(delivery, self.now())
        if self.counts is not None:
            self.counts.sent(name)
        if self.failures:
            self.report(f"{name}: it takes alerts again")
        if self.failures or delivery.attempts:
            outbox.hurry(name, self.now())
        self.failures = 0
        return True


class CourierThread(threading.Thread):
    """Runs a courier until `stopping`; `changed` says that there may be new alerts."""

    def __init__(self, courier: Courier, path: Path, stopping: threading.Event) -> None:
        super().__init__(name=f"alerts to {courier.destination.name}", daemon=True)
        self._courier = courier
        self._path = path
        self._stopping = stopping
        self.changed = threading.Event()

    def run(self) -> None:
        """Deliver, wait, and go on after a fault of the outbox."""
        while not self._stopping.is_set():
            self.changed.clear()
            try:
                wait = self._once()
            except OutboxError as error:
                self._courier.report(f"{error}; trying again")
                wait = _ERRORS_WAIT
            self.changed.wait(wait)

    def _once(self) -> float:
        outbox = Outbox(self._path)
        try:
            self._courier.deliver(outbox, self._stopping.is_set)
            following = outbox.next_time(self._courier.destination.name)
        finally:
            outbox.close()
        if following is None or self._courier.is_paused:
            return _LOOK_AGAIN
        return min(_LOOK_AGAIN, max(0.1, following - self._courier.now()))


def deliver_once(couriers: list[Courier], path: Path, patience: float) -> list[str]:
    """Deliver what is due now, to all at the same time. Return the names of those that did not take everything.

    After `patience` seconds it does not wait any longer for a destination; its alerts then wait in the outbox.
    """
    done: set[str] = set()
    faults: list[OutboxError] = []

    def run(courier: Courier) -> None:
        try:
            outbox = Outbox(path)
            try:
                if courier.deliver(outbox):
                    done.add(courier.destination.name)
            finally:
                outbox.close()
        except OutboxError as error:
            faults.append(error)

    threads = [threading.Thread(target=run, args=(courier,), daemon=True) for courier in couriers]
    for thread in threads:
        thread.start()
    end = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    if faults:
        raise faults[0]
    return [courier.destination.name for courier in couriers if courier.destination.name not in done]
