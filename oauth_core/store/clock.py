"""What time it is, by Redis' clock: all processes go by the one that they share, whatever their own machines say.

Were every machine believed, a few seconds between two would let things slip. Somebody is allowed something by the
clock that is ahead; all they hold is revoked up to a second that is behind
(`oauth_core.store.records.revocation_cutoffs`); and what was allowed just before would count as allowed since.
Tokens of one replica would be of the future to another.

In a cluster everybody asks the same node, for nodes differ too.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

unsleeping_clock: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
"""Seconds that go on while the machine sleeps, where the system can tell; they never go back."""

_TIME = "return redis.call('TIME')"
_ASKED_OF = keyspace.SCHEMA
"""Whoever keeps this key says what time it is."""

_LOOK_EVERY = 10.0
_DRIFT = 0.001
"""How much faster than Redis' clock ours may run: more than any clock that is kept in step."""

NOTICEABLE = 2.0
"""Seconds between a machine's clock and Redis' from which on somebody should be told."""


async def seconds(redis: Redis, *, asked_of: str = _ASKED_OF) -> float:
    """Seconds since the epoch at this moment, as Redis sees it: the node of the key `asked_of`.

    Raises `StoreUnavailableError`.
    """
    async with guarded():
        whole, microseconds = await redis.register_script(_TIME)([asked_of])
    return int(whole) + int(microseconds) / 1e6


class RedisClock:
    """Whole seconds since the epoch, reckoned from the last answer of Redis, and never ahead of it.

    Between answers this machine's clock only measures how long ago that was, so setting it changes nothing.
    """

    def __init__(self, redis: Redis, *, differs: Callable[[float], None]) -> None:
        """Call `look` before anything else.

        `differs` is told once, with the seconds that this machine's clock is ahead, when that becomes noticeable.
        """
        self._redis = redis
        self._tell = differs
        self._seen = 0.0
        self._seen_at = 0.0
        self._differs = False
        self._following: asyncio.Task[None] | None = None

    def __call__(self) -> int:
        passed = (unsleeping_clock() - self._seen_at) * (1 - _DRIFT)
        return int(self._seen + passed)

    async def look(self) -> None:
        """Ask Redis now. Raises `StoreUnavailableError`."""
        seen = await seconds(self._redis)
        # When the answer is here, Redis' clock is a little further: erring to that side lets nothing slip.
        self._seen, self._seen_at = seen, unsleeping_clock()
        ahead = time.time() - seen
        if (abs(ahead) >= NOTICEABLE) != self._differs:
            self._differs = not self._differs
            if self._differs:
                self._tell(ahead)

    async def start(self) -> None:
        """Look again and again from now on."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Look no longer."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look()
            except StoreUnavailableError:
                continue  # what we know is good for longer than Redis is usually away
