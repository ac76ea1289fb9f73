"""One document that a check process keeps a copy of, read over the tracking connection to get invalidations.

`oauth_core.store.client_cache.token_cache` explains the theory. A copy is valid until the bound has passed since
the read was sent. It stays valid beyond that while Redis would have announced a change: the read went over
the connection, the connection is trusted, and no invalidation has arrived since.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from oauth_core.store.client_cache.tracking_connection import TrackingConnection

_NEVER = -float("inf")


class TrackedDocument:
    """The document at `key`. `ClientCache` makes these and passes invalidations on to them."""

    def __init__(
        self,
        key: str,
        read_directly: Callable[[], Awaitable[str | bytes | None]],
        *,
        connection: Callable[[], TrackingConnection | None],
        is_trusted: Callable[[float], bool],
        deadline: float,
        bound: float,
        clock: Callable[[], float],
    ) -> None:
        """`read_directly` reads without the tracking connection. `connection` returns the present one, or `None`.

        `is_trusted` returns whether the cache is trusted at a time, in seconds of `clock`.
        """
        self.key = key.encode()
        self._key = key
        self._read_directly = read_directly
        self._connection = connection
        self._is_trusted = is_trusted
        self._deadline = deadline
        self._bound = bound
        self._clock = clock
        self._good_until = _NEVER
        self._is_tracked = False
        self._changes = 0

    @property
    def is_current(self) -> bool:
        """Whether the last copy may still be used."""
        now = self._clock()
        return now < self._good_until or (self._is_tracked and self._is_trusted(now))

    def may_have_changed(self) -> None:
        """Process an invalidation, or a loss of the connection that would have carried one."""
        self._is_tracked = False
        self._changes += 1

    async def read(self) -> str | bytes | None:
        """Return the document, or `None` when there is none.

        Raises `StoreUnavailableError`, and `ValueError` when the value is not text.
        """
        connection, changes, sent_at = self._connection(), self._changes, self._clock()
        document = await (self._read_directly() if connection is None else self._read_over(connection))
        if connection is not None and self._connection() is not connection:
            # The connection was lost, or its server does not count any more.
            raise StoreUnavailableError("the tracking connection was lost")
        self._good_until = sent_at + self._bound
        self._is_tracked = connection is not None and changes == self._changes
        return document

    async def _read_over(self, connection: TrackingConnection) -> bytes | None:
        document: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()

        def answered(value: object) -> None:
            if document.done():
                return
            if value is None or isinstance(value, bytes):
                document.set_result(value)
            else:
                document.set_exception(ValueError(f"{self._key} is not text, or may not be read"))

        def lost() -> None:
            if not document.done():
                document.set_exception(StoreUnavailableError("the tracking connection was lost"))

        connection.send("GET", self._key, on_answer=answered, on_lost=lost)
        try:
            async with asyncio.timeout(self._deadline):
                return await document
        except TimeoutError:
            raise StoreUnavailableError("Redis did not answer in time") from None


class Copies:
    """One document at several keys, so that one unreachable server does not make it unavailable.

    Each copy follows the rules for one server. `combine` combines the copies that can be read, and handles copies
    that are older than others.
    """

    def __init__(
        self,
        copies: Sequence[TrackedDocument],
        combine: Callable[[Sequence[str | bytes | None]], str | bytes | None],
        *,
        patience: float,
    ) -> None:
        """`patience` is the seconds to wait for a copy while another one is available."""
        self.changed = asyncio.Event()
        """Set when the document may have changed. A reader clears it before it reads again."""
        self._copies = copies
        self._combine = combine
        self._patience = patience
        self._late: dict[TrackedDocument, asyncio.Task[str | bytes | None]] = {}

    @property
    def is_current(self) -> bool:
        """Whether the last copy of any key may still be used."""
        return any(copy.is_current for copy in self._copies)

    def may_have_changed(self, keys: list[bytes] | None) -> None:
        """Process an invalidation of these keys, or of all."""
        for copy in self._copies:
            if keys is None or copy.key in keys:
                copy.may_have_changed()
                self.changed.set()

    async def read(self) -> str | bytes | None:
        """Return the document, or `None` when there is none.

        Raises `StoreUnavailableError`, and `ValueError` when the value is not text.
        """
        if len(self._copies) == 1:
            return await self._copies[0].read()
        reading = {
            copy: self._late.pop(copy) if copy in self._late else asyncio.create_task(copy.read())
            for copy in self._copies
        }
        _, late = await asyncio.wait(reading.values(), timeout=self._patience)
        if late and not any(task.done() and task.exception() is None for task in reading.values()):
            await asyncio.wait(late)
        found, failed = [], None
        for copy, task in reading.items():
            if not task.done():
                # The read continues in the background: a slow server must not delay the copies of the others.
                self._late[copy] = task
                task.add_done_callback(self._is_there)
            elif (error := task.exception()) is None:
                found.append(task.result())
            elif isinstance(error, (StoreUnavailableError, ValueError)):
                failed = error
            else:
                raise error
        if not found and failed is not None:
            raise failed
        return self._combine(found)

    def _is_there(self, task: asyncio.Task[str | bytes | None]) -> None:
        if not task.cancelled() and task.exception() is None:
            self.changed.set()
