"""Work that one process at a time does for all: a lease while it lasts, and a rest until it is due again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: lease. ARGV: holder, milliseconds. Who lost it must not lengthen the next holder's.
_EXTEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True)
class BackOff:
    """The work was done `under` these rules and is due again in so many seconds."""

    under: str
    seconds: float


class LeaseStore:
    """`holder` is this process, among all. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis, *, holder: str) -> None:
        self._redis = redis
        self._holder = holder
        self._extend = redis.register_script(_EXTEND)
        self._release = redis.register_script(_RELEASE)

    async def acquire(self, work: str, *, seconds: float) -> bool:
        """Begin `work`, unless another process is at it. Without `extend` it is over after `seconds`."""
        async with guarded():
            key = keyspace.lease(work)
            return bool(await self._redis.set(key, self._holder, nx=True, px=int(seconds * 1000)))

    async def extend(self, work: str, *, seconds: float) -> bool:
        """Go on with `work`. Answers False when the lease was lost, and so must the work be."""
        async with guarded():
            return bool(await self._extend([keyspace.lease(work)], [self._holder, int(seconds * 1000)]))

    async def release(self, work: str) -> None:
        """Let others do `work`."""
        async with guarded():
            await self._release([keyspace.lease(work)], [self._holder])

    async def rest(self, work: str, rest: BackOff) -> None:
        """Note when `work` is due again."""
        async with guarded():
            await self._redis.set(keyspace.lease_rest(work), rest.under, px=int(rest.seconds * 1000))

    async def resting(self, work: str) -> BackOff | None:
        """When `work` is due again; `None` when it is due now."""
        key = keyspace.lease_rest(work)
        async with guarded():
            under, milliseconds = await self._redis.get(key), await self._redis.pttl(key)
        return BackOff(str(under), milliseconds / 1000) if under is not None and milliseconds > 0 else None
