"""Whether sign-ins are paused: an operator restores a backup, say, and nobody may write records meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: the pause. ARGV: a reason. Both answer whether there was a pause. The first write needs no memory, so a
# full Redis takes the second.
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
    """Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def pause(self, reason: str) -> bool:
        """Pause sign-ins; answers whether they were not paused already."""
        async with guarded():
            return not await self._redis.register_script(_PAUSE)([keyspace.PAUSED], [reason])

    async def change_reason(self, reason: str) -> bool:
        """Show people another reason; answers whether sign-ins are paused at all."""
        async with guarded():
            return bool(await self._redis.register_script(_CHANGE)([keyspace.PAUSED], [reason]))

    async def resume(self) -> bool:
        """Let people sign in again; answers whether sign-ins were paused."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.PAUSED))

    async def reason(self) -> str | None:
        """Why sign-ins are paused; `None` when they are not."""
        async with guarded():
            found = await self._redis.get(keyspace.PAUSED)
        return None if found is None else str(found)
