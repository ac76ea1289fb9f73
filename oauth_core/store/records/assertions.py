"""Replay protection: the used assertions of clients and trusted issuers (RFC 7523 section 3), and the DPoP proofs
that the token endpoint accepted (RFC 9449 section 11.1). Each can be used once.
"""

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
    """Records each used assertion until the assertion expires."""

    def __init__(self, redis: Redis, quotas: QuotaStore) -> None:
        self._redis = redis
        self._quotas = quotas

    async def use(self, issuer: str, jti: str, *, until: int, now: int, caller: str) -> bool:
        """Mark `jti` of its signer `issuer` as used; returns True for only one of any number of callers.

        `until` is the second since the epoch at which the record expires. Raises `StoreUnavailableError`, and
        `DisplayedError` when `caller` has used too many assertions.
        """
        # No maker contains a NUL, so two different pairs never give the same name.
        key = keyspace.assertion(hash_secret(f"{issuer}\0{jti}"))
        await self._quotas.take(Stored.ASSERTIONS, len(key), lifetime=until - now, caller=caller)
        async with guarded():
            return bool(await self._redis.set(key, "used", nx=True, exat=until))
