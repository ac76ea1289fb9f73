"""The interface of a destination's sender, its error, and its time limits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from portcullis.outgoing.retry_after import seconds_of

if TYPE_CHECKING:
    from portcullis.alerts.alert import Alert


ATTEMPT_SECONDS = 60.0
"""The time limit of an attempt: a receiver that sends a byte now and then must not hold it for ever."""


LONGEST_BUSY = 3600.0
"""The longest time in seconds that a destination may ask to be left alone."""

_TOO_MANY_REQUESTS, _UNAVAILABLE, _GONE = 429, 503, 410
_DEFAULT_BUSY = 15.0


class NotTakenError(Exception):
    """A destination did not take an alert. The message says why and shows no secret.

    `is_final`: the destination accepts no further attempt. `was_answered`: the destination works, and refused this
    alert. `busy`: the seconds for which the destination accepts no alert at all, at most `LONGEST_BUSY`.
    """

    def __init__(
        self, fault: str, *, is_final: bool = False, was_answered: bool = False, busy: float = 0.0
    ) -> None:
        super().__init__(fault)
        self.is_final = is_final
        self.was_answered = was_answered
        self.busy = busy

    @classmethod
    def answered(cls, status: int, retry_after: str | None, now: float) -> NotTakenError:
        """The error for an answer with this status and this header `Retry-After`."""
        return cls(
            f"it answers {status}",
            # "410 Gone": the receiver accepts no more messages.
            is_final=status == _GONE,
            was_answered=True,
            busy=busy_seconds(status, retry_after, now),
        )


def busy_seconds(status: int, retry_after: str | None, now: float) -> float:
    """Return for how many seconds an answer asks to be left alone: 0 if it does not, `LONGEST_BUSY` at most.

    `Retry-After` counts with 503, and with 429 (RFC 6585), which has a default. `now` is in seconds of the epoch.
    """
    if status not in {_TOO_MANY_REQUESTS, _UNAVAILABLE}:
        return 0.0
    default = _DEFAULT_BUSY if status == _TOO_MANY_REQUESTS else 0.0
    return min(max(seconds_of(retry_after, now) or 0.0, default), LONGEST_BUSY)


class Sender(Protocol):
    """Sends alerts to one destination."""

    @property
    def address(self) -> str:
        """The part of the address that may be shown."""

    def send(self, alert: Alert) -> None:
        """Send an alert, and return when the destination has it. Raises `NotTakenError`."""


class BoundedSender:
    """A sender whose attempts end in `seconds`, with `NotTakenError` for every fault.

    An attempt that takes longer goes on by itself, and no other one begins before it ends: so a receiver that
    never answers holds one thread, and not one for each attempt.
    """

    def __init__(self, sender: Sender, seconds: float = ATTEMPT_SECONDS) -> None:
        self._sender = sender
        self._seconds = seconds
        self._late: threading.Thread | None = None
        self.address = sender.address

    def send(self, alert: Alert) -> None:
        """Send an alert. Raises `NotTakenError`."""
        if self._late is not None and self._late.is_alive():
            raise NotTakenError("an earlier attempt has not ended")
        faults: list[NotTakenError] = []
        thread = threading.Thread(target=self._try, args=(alert, faults), name="alert attempt", daemon=True)
        thread.start()
        thread.join(self._seconds)
        if thread.is_alive():
            self._late = thread
            raise NotTakenError(f"no answer after {self._seconds:g} seconds")
        if faults:
            raise faults[0]

    def _try(self, alert: Alert, faults: list[NotTakenError]) -> None:
        try:
            self._sender.send(alert)
        except NotTakenError as error:
            faults.append(error)
        except Exception as error:  # noqa: BLE001 - others go on, and the text can have a secret
            faults.append(NotTakenError(f"it failed ({type(error).__name__})"))
