"""The time by the clock of Redis, which all processes share, whatever the clocks of their machines show.

If each process used its own clock, a difference of a few seconds would let rights escape a revocation. A right is
allowed by the clock that is ahead. Everything is revoked up to a second of the clock that is behind
(`oauth_core.store.records.revocation_cutoffs`). The right that was allowed just before then seems newer. Also,
tokens of one replica would lie in the future for another.

In a cluster all processes ask the same node, because nodes differ too.
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
"""A clock in seconds that advances while the machine sleeps, if the system supports it; it never goes back."""

_TIME = "return redis.call('TIME')"
_ASKED_OF = keyspace.SCHEMA
"""The node with this key gives the time."""

_LOOK_EVERY = 10.0
_DRIFT = 0.001
"""How much faster than the clock of Redis ours may run: more than any synchronized clock does."""

NOTICEABLE = 2.0
"""Seconds between a machine's clock and that of Redis from which an operator should know."""


async def seconds(redis: Redis, *, asked_of: str = _ASKED_OF) -> float:
    """Return the seconds since the epoch by Redis: by the node of the key `asked_of`.

    Raises `StoreUnavailableError`.
    """
    async with guarded():
        whole, microseconds = await redis.register_script(_TIME)([asked_of])
    return int(whole) + int(microseconds) / 1e6


class RedisClock:
    """Whole seconds since the epoch, computed from the last answer of Redis, and never ahead of it.

    Between answers this machine's clock only measures the time since then, so setting it changes nothing.
    """

    def __init__(self, redis: Redis, *, differs: Callable[[float], None]) -> None:
        """Call `look` before anything else.

        `differs` is called once, with the seconds that this machine's clock is ahead, when that becomes
        noticeable.
        """
        self._redis = redis
        self._on_difference = differs
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
        # When the answer arrives, the clock of Redis is slightly further. An error to that side lets no right
        # escape.
        self._seen, self._seen_at = seen, unsleeping_clock()
        ahead = time.time() - seen
        if (abs(ahead) >= NOTICEABLE) != self._differs:
            self._differs = not self._differs
            if self._differs:
                self._on_difference(ahead)

    async def start(self) -> None:
        """Ask Redis regularly from now on."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop asking Redis."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            try:
                await self.look()
            except StoreUnavailableError:
                continue  # the last answer is good for longer than Redis is usually unreachable
