"""The interface of a destination's sender, and its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from portcullis.alerts.alert import Alert


class NotTakenError(Exception):
    """A destination did not take an alert. The message says why and shows no secret.

    `is_final`: the destination wants no further attempt.
    """

    def __init__(self, fault: str, *, is_final: bool = False) -> None:
        super().__init__(fault)
        self.is_final = is_final


class Sender(Protocol):
    """Sends alerts to one destination."""

    @property
    def address(self) -> str:
        """The part of the address that may be shown."""

    def send(self, alert: Alert) -> None:
        """Send an alert, and return when the destination has it. Raises `NotTakenError`."""
