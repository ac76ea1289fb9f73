"""What this process says of its health: serving or not, and once it drains, never again."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

CHECK_SERVICE = "envoy.service.auth.v3.Authorization"
NAMES = frozenset({"", CHECK_SERVICE})
"""Names that `grpc.health.v1` knows here: the process as a whole, and the service."""

_HEARD_SECONDS = 1.5
"""Envoy's configuration, as we write it, has it ask each second and believe the first no."""

_WATCHED_SECONDS = 4.0
_SAME_QUESTION_SECONDS = 0.5
"""Several Envoys ask within a moment; one that asks once at the start does not watch."""


class Health:
    """Whether checks should be sent here. It begins with no."""

    def __init__(self) -> None:
        self._able = False
        self._draining = False
        self._reported = asyncio.Event()
        self._asked = (-_WATCHED_SECONDS, -_WATCHED_SECONDS)  # the last two times; the clock may begin at 0
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

    def asked(self) -> None:
        """Note that health was asked for. An Envoy that balances over several services asks at intervals."""
        now = monotonic()
        if now - self._asked[1] >= _SAME_QUESTION_SECONDS:
            self._asked = (self._asked[1], now)

    @property
    def seconds_to_be_heard(self) -> float:
        """Seconds until a caller that asks at intervals has heard of the last change; 0 if none asks."""
        return _HEARD_SECONDS if monotonic() - self._asked[0] < _WATCHED_SECONDS else 0.0

    async def able(self) -> None:
        """Return once checks can be answered."""
        while not self._able:
            await self._changed.wait()

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
        # Those that wait keep the old event; later ones wait for the next change.
        self._changed.set()
        self._changed = asyncio.Event()
