"""The interface of a sink's sender, and its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portcullis.sinks.records import Record

REFUSALS = frozenset({400, 413, 422})
"""Statuses of HTTP by which a receiver refuses what was sent. Others can be about the address or a token."""
ATTEMPT_SECONDS = 30.0
"""The time limit of an attempt."""


class NotTakenError(Exception):
    """A sink did not take the records. The message says why and shows no secret.

    `retry_after` is the time in seconds that the sink asks for. `is_refused`: the reason is what was sent. Then
    fewer records may be taken, and one record alone may never be.
    """

    def __init__(self, fault: str, *, retry_after: float | None = None, is_refused: bool = False) -> None:
        super().__init__(fault)
        self.retry_after = retry_after
        self.is_refused = is_refused


class Sender(Protocol):
    """Sends records to one sink."""

    def send(self, records: Sequence[Record]) -> int:
        """Send records, and return when the sink has them; the result is how many it has refused for good.

        Raises `NotTakenError`; then the sink may have some of them.
        """

    def close(self) -> None:
        """End the connection."""
