"""Whether sign-ins are paused: an operator restores a backup, say, and nobody may write records meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis


class SignInPauseStore:
    """Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def pause(self, reason: str) -> bool:
        """Pause sign-ins; answers whether they were not paused already."""
        async with guarded():
            return bool(await self._redis.set(keyspace.PAUSED, reason, nx=True))

    async def change_reason(self, reason: str) -> bool:
        """Show people another reason; answers whether sign-ins are paused at all."""
        async with guarded():
            return bool(await self._redis.set(keyspace.PAUSED, reason, xx=True))

    async def resume(self) -> bool:
        """Let people sign in again; answers whether sign-ins were paused."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.PAUSED))

    async def reason(self) -> str | None:
        """Why sign-ins are paused; `None` when they are not."""
        async with guarded():
            found = await self._redis.get(keyspace.PAUSED)
        return None if found is None else str(found)
