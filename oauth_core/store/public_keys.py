"""The public keys that check access tokens, as the authorization server publishes them in Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis


class PublicKeysStore:
    """Reads the published JWK set. It never sees a private key: the key ring is another key, under an ACL."""

    def __init__(self, redis: Redis, *, timeout: float) -> None:
        """`timeout` is the longest a read may take, in seconds."""
        self._redis = redis
        self._timeout = timeout

    async def read(self) -> str | bytes | None:
        """The JWK set as JSON, or `None` when none was published.

        Raises `StoreUnavailableError`, and `ValueError` when what is there is not text.
        """
        async with guarded(), asyncio.timeout(self._timeout):
            return await self._redis.get(keyspace.JWKS)
