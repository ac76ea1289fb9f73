"""Leases for work that one process at a time does for all, and the back-off until the work is due again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: lease. ARGV: holder, milliseconds. A holder that lost the lease must not extend that of the next holder.
_EXTEND = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


@dataclass(frozen=True)
class LeaseBackOff:
    """The back-off after work that was done under the rules `under`: it is due again in `seconds`."""

    under: str
    seconds: float


class LeaseStore:
    """Stores leases. `holder` identifies this process. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis, *, holder: str) -> None:
        self._redis = redis
        self._holder = holder
        self._extend = redis.register_script(_EXTEND)
        self._release = redis.register_script(_RELEASE)

    async def acquire(self, work: str, *, seconds: float) -> bool:
        """Take the lease for `work`, unless another process holds it. Without `extend` it ends after `seconds`."""
        async with guarded():
            key = keyspace.lease(work)
            return bool(await self._redis.set(key, self._holder, nx=True, px=int(seconds * 1000)))

    async def extend(self, work: str, *, seconds: float) -> bool:
        """Extend the lease for `work`. Returns False when it was lost; the caller must then stop the work."""
        async with guarded():
            return bool(await self._extend([keyspace.lease(work)], [self._holder, int(seconds * 1000)]))

    async def release(self, work: str) -> None:
        """Give the lease for `work` up."""
        async with guarded():
            await self._release([keyspace.lease(work)], [self._holder])

    async def back_off(self, work: str, back_off: LeaseBackOff) -> None:
        """Record when `work` is due again."""
        async with guarded():
            await self._redis.set(keyspace.lease_back_off(work), back_off.under, px=int(back_off.seconds * 1000))

    async def back_off_of(self, work: str) -> LeaseBackOff | None:
        """Return when `work` is due again; `None` when it is due now."""
        key = keyspace.lease_back_off(work)
        async with guarded():
            under, milliseconds = await self._redis.get(key), await self._redis.pttl(key)
        return LeaseBackOff(str(under), milliseconds / 1000) if under is not None and milliseconds > 0 else None
