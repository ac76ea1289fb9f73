"""The health of this process: serving or not, and never again serving once it drains."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHECK_SERVICE = "envoy.service.auth.v3.Authorization"
NAMES = frozenset({"", CHECK_SERVICE})
"""Names that `grpc.health.v1` accepts here: the process as a whole, and the service."""

_HEARD_SECONDS = 1.5
"""The Envoy configuration of this product asks each second and acts on the first negative answer."""

_WATCHED_SECONDS = 4.0
_SAME_CHECK_SECONDS = 0.5
"""Several Envoys ask within a moment; one that asks once at the start does not watch."""


class Health:
    """Whether checks should be sent here. At first they should not."""

    def __init__(self) -> None:
        self._able = False
        self._draining = False
        self._reported = asyncio.Event()
        self._last_checks = (-_WATCHED_SECONDS, -_WATCHED_SECONDS)  # the last two times; the clock may begin at 0
        self._changed = asyncio.Event()

    @property
    def is_serving(self) -> bool:
        """Whether checks can be answered, and more are accepted."""
        return self._able and not self._draining

    def report(self, *, able: bool) -> None:
        """Set whether checks can be answered."""
        self._able = able
        self._reported.set()
        self._notify()

    def drain(self) -> None:
        """Report from now on that checks should go elsewhere; checks that arrive are still answered."""
        self._draining = True
        self._notify()

    def record_health_check(self) -> None:
        """Record a health check. An Envoy that balances over several services asks at intervals."""
        now = monotonic()
        if now - self._last_checks[1] >= _SAME_CHECK_SECONDS:
            self._last_checks = (self._last_checks[1], now)

    @property
    def seconds_to_be_heard(self) -> float:
        """Seconds until a caller that asks at intervals has noticed the last change; 0 if none asks."""
        return _HEARD_SECONDS if monotonic() - self._last_checks[0] < _WATCHED_SECONDS else 0.0

    async def wait_until_able(self) -> None:
        """Return once checks can be answered."""
        while not self._able:
            await self._changed.wait()

    async def wait_for_first_report(self) -> None:
        """Return after the first report: before it, a worker has no state to return."""
        await self._reported.wait()

    async def follow(self) -> AsyncGenerator[bool, None]:
        """Yield every state from the present one on, until it drains. A very short state may be missing."""
        last: bool | None = None
        while True:
            if last != (last := self.is_serving):
                yield last
            elif self._draining:
                return
            else:
                await self._changed.wait()

    def _notify(self) -> None:
        # Waiting tasks keep the old event; later ones wait for the next change.
        self._changed.set()
        self._changed = asyncio.Event()
