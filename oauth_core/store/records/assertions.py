"""Assertions that were used, of clients and of identity providers: each is good once (RFC 7523 section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret
from oauth_core.limits.quotas import Stored
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.store.records.quotas import QuotaStore


class AssertionStore:
    """Remembers what was used until it could not be used anyway."""

    def __init__(self, redis: Redis, quotas: QuotaStore) -> None:
        self._redis = redis
        self._quotas = quotas

    async def use(self, maker: str, jti: str, *, until: int, now: int, caller: str) -> bool:
        """Use up `jti` of `maker`, who signed it; of any number of callers one is answered True.

        `until` is the second since the epoch at which it may be forgotten. Raises `StoreUnavailableError`,
        and `DisplayedError` when `caller` has used too many.
        """
        # No maker has a NUL, so no two pairs make one name.
        key = keyspace.assertion(hash_secret(f"{maker}\0{jti}"))
        await self._quotas.take(Stored.ASSERTIONS, len(key), lifetime=until - now, caller=caller)
        async with guarded():
            return bool(await self._redis.set(key, "used", nx=True, exat=until))
