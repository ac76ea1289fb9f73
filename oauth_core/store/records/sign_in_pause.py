"""The pause of sign-ins, for instance while an operator restores a backup and no process may write records."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: the pause. ARGV: a reason. Both return whether there was a pause. The first write needs no memory, so that
# a full Redis accepts the second.
_PAUSE = """
local before = redis.call('GET', KEYS[1])
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], before or ARGV[1])
return before and 1 or 0
"""
_CHANGE = """
local existed = redis.call('DEL', KEYS[1])
if existed == 1 then redis.call('SET', KEYS[1], ARGV[1]) end
return existed
"""


class SignInPauseStore:
    """Stores the pause. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def pause(self, reason: str) -> bool:
        """Pause sign-ins; returns True unless they were paused already."""
        async with guarded():
            return not await self._redis.register_script(_PAUSE)([keyspace.PAUSED], [reason])

    async def change_reason(self, reason: str) -> bool:
        """Change the displayed reason; returns whether sign-ins are paused."""
        async with guarded():
            return bool(await self._redis.register_script(_CHANGE)([keyspace.PAUSED], [reason]))

    async def resume(self) -> bool:
        """End the pause; returns whether sign-ins were paused."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.PAUSED))

    async def reason(self) -> str | None:
        """Return why sign-ins are paused; `None` when they are not."""
        async with guarded():
            found = await self._redis.get(keyspace.PAUSED)
        return None if found is None else str(found)
