"""What this process says of its health: serving or not, and once it drains, never again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHECK_SERVICE = "envoy.service.auth.v3.Authorization"
NAMES = frozenset({"", CHECK_SERVICE})
"""Names that `grpc.health.v1` knows here: the process as a whole, and the service."""


class Health:
    """Whether checks should be sent here. It begins with no."""

    def __init__(self) -> None:
        self._able = False
        self._draining = False
        self._reported = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def is_serving(self) -> bool:
        """Whether checks can be answered, and more are welcome."""
        return self._able and not self._draining

    def report(self, *, able: bool) -> None:
        """Say whether checks can be answered."""
        self._able = able
        self._reported.set()
        self._tell()

    def drain(self) -> None:
        """From now on send checks elsewhere; those that come are answered all the same."""
        self._draining = True
        self._tell()

    async def reported(self) -> None:
        """Return once anything has been said: a worker that does not know yet should not be asked yet."""
        await self._reported.wait()

    async def follow(self) -> AsyncGenerator[bool, None]:
        """Every state from the present one on, until it drains; one that was left again at once may be missing."""
        said: bool | None = None
        while True:
            if said != (said := self.is_serving):
                yield said
            elif self._draining:
                return
            else:
                await self._changed.wait()

    def _tell(self) -> None:
        # Whoever waits keeps the old event; who comes later waits for the next change.
        self._changed.set()
        self._changed = asyncio.Event()
