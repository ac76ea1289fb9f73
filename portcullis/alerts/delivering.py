"""Delivers what waits in the outbox: one thread for each destination, so that none waits for another one."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from portcullis.alerts.outbox import Outbox, OutboxError
from portcullis.alerts.sending import NotTakenError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portcullis.alerts.destinations import Destination
    from portcullis.alerts.outbox import Delivery
    from portcullis.alerts.quiet_hours import QuietHours

FIRST_WAIT = 15.0
LONGEST_WAIT = 3600.0
_LONGEST_PAUSE = 300.0
"""How long a destination that failed gets no other alert either."""
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
    now: Callable[[], float] = time.time
    share: Callable[[], float] = field(default=secrets.SystemRandom().random)
    failures: int = 0
    """Failed attempts since the destination took an alert."""

    def deliver(self, outbox: Outbox, is_stopping: Callable[[], bool] = lambda: False) -> bool:
        """Send what is due, until an attempt fails or nothing is left. Return whether none failed.

        Raises `OutboxError`.
        """
        while not is_stopping() and (delivery := outbox.next_due(self.destination.name, self.now())) is not None:
            if (end := self._quiet_until(delivery)) is not None:
                outbox.wait_until(delivery, end)
            elif not self._attempt(delivery, outbox):
                # The destination may be down: the others wait too, and one of them is the next attempt.
                return False
        return True

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
            again = now + wait_after(delivery.attempts, self.share())
            has_ended = error.is_final or now - first >= self.give_up
            outbox.refused(delivery, str(error), now, again=None if has_ended else again)
            if has_ended:
                self.report(f"{name}: alert {delivery.alert.id} is given up: {error}")
            elif not self.failures:
                self.report(f"{name}: {error}; trying again")
            self.failures += 1
            return False
        outbox.taken(delivery, self.now())
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
            if not self._courier.deliver(outbox, self._stopping.is_set):
                pause = wait_after(self._courier.failures - 1, self._courier.share())
                self._stopping.wait(min(pause, _LONGEST_PAUSE))
            following = outbox.next_time(self._courier.destination.name)
        finally:
            outbox.close()
        return _LOOK_AGAIN if following is None else min(_LOOK_AGAIN, max(0.1, following - self._courier.now()))


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
