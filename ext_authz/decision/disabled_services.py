"""The disabled services in this process: read at intervals, and at once when Redis reports a change.

A service that was read as disabled stays so until a later read shows otherwise. A service counts as open only
while the last read is valid (`oauth_core.store.client_cache.tracked_document`). Afterwards its status is unknown,
and its requests are refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Never, Protocol

import structlog

from oauth_core.errors import StoreUnavailableError
from oauth_core.policy.decision import Disabled, ServiceStatus
from oauth_core.store.records.disabled_services import parse

if TYPE_CHECKING:
    from collections.abc import Mapping

_READS_IN_BOUND = 4


class Source(Protocol):
    """A document that signals its changes."""

    changed: asyncio.Event

    @property
    def is_current(self) -> bool:
        """Whether the last copy may still be used."""

    async def read(self) -> str | bytes | None:
        """Return the document. Raises `StoreUnavailableError`, or `ValueError` if it is not text."""


class DisabledServices:
    """The services of the last read."""

    def __init__(self, source: Source, *, bound: float) -> None:
        """`bound` is the longest, in seconds, that a change may go unnoticed."""
        self._source = source
        self._read_every = bound / _READS_IN_BOUND
        self._disabled: Mapping[str, Disabled] = {}
        self._is_readable: bool | None = None
        self._log = structlog.get_logger("disabled_services")

    def service_status(self, service: str) -> ServiceStatus | Disabled:
        """Return the status of the service with this name."""
        disabled = self._disabled.get(service)
        if disabled is not None:
            return disabled
        return ServiceStatus.OPEN if self.is_known else ServiceStatus.UNKNOWN

    @property
    def is_known(self) -> bool:
        """Whether the last read returned the disabled services, and is still valid."""
        return bool(self._is_readable) and self._source.is_current

    async def read(self) -> None:
        """Read the document now. If Redis does not answer, the last read stays, for as long as it is valid."""
        before = self._disabled
        try:
            self._disabled = parse(await self._source.read())
            self._is_readable = True
        except StoreUnavailableError:
            return
        except ValueError as error:
            # The document is not ours, or the Redis user may not read it: the status is unknown.
            if self._is_readable is not False:
                self._log.error("disabled_services.unreadable", error=type(error).__name__)
            self._is_readable = False
        if before.keys() != self._disabled.keys():
            self._log.info("disabled_services.changed", services=sorted(self._disabled))

    async def watch(self) -> Never:
        """Read for ever."""
        while True:
            self._source.changed.clear()  # before the read: a change during it causes another read
            await self.read()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._read_every):
                    await self._source.changed.wait()
