"""Clients that an operator disabled.

A mark does not expire, and stays when the client's record is deleted or expires. Like a block it only takes rights
away, so it has no authentication code, and any text at its key disables the client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.model import DisabledClient
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Iterable

    from redis.asyncio import Redis

_DISABLED = Codec(DisabledClient)

# KEYS: mark. ARGV: its text. The first write needs no memory, so that a full Redis accepts the second.
_STORE = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[1])
"""


class DisabledClientStore:
    """Reads the marks, and ends them. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def is_disabled(self, client_id: str) -> bool:
        """Return whether the client is disabled."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.disabled_client(client_id)))

    async def is_any_disabled(self, traits: Iterable[str]) -> bool:
        """Return whether a disabled client has one of these traits."""
        async with guarded():
            # One by one: they are on different nodes.
            return any([await self._redis.exists(keyspace.disabled_trait(trait)) for trait in traits])

    async def get(self, client_id: str) -> DisabledClient | None:
        """Return the mark of a client, if it is disabled."""
        async with guarded():
            text = await self._redis.get(keyspace.disabled_client(client_id))
        return None if text is None else _DISABLED.load(text)

    async def all(self) -> list[DisabledClient]:
        """Return all marks, the oldest first."""
        keys = {key async for key in scan(self._redis, keyspace.ALL_DISABLED_CLIENTS)}
        async with guarded():
            texts = [await self._redis.get(key) for key in keys]
        return sorted((_DISABLED.load(text) for text in texts if text is not None), key=lambda one: one.since)

    async def enable(self, client_id: str) -> bool:
        """End the mark of a client. Returns whether it was disabled.

        A trait stays while another disabled client has it. That is looked at before its key is deleted and after
        it, because another operator may disable a client in between. The mark is deleted last, so that a call that
        failed can be repeated.
        """
        mark = await self.get(client_id)
        if mark is None:
            return False
        unused = set(mark.traits) - await self._traits_of_others(client_id)
        for trait in unused:
            async with guarded():
                await self._redis.delete(keyspace.disabled_trait(trait))
        for trait in unused & (await self._traits_of_others(client_id) if unused else set()):
            await store_trait(self._redis, trait)
        async with guarded():
            return bool(await self._redis.delete(keyspace.disabled_client(client_id)))

    async def _traits_of_others(self, client_id: str) -> set[str]:
        return {trait for one in await self.all() if one.client_id != client_id for trait in one.traits}


async def store_mark(redis: Redis, mark: DisabledClient) -> None:
    """Disable a client. The caller ends its grants afterwards. Raises `StoreUnavailableError`."""
    async with guarded():
        await redis.register_script(_STORE)([keyspace.disabled_client(mark.client_id)], [_DISABLED.dump(mark)])


async def store_trait(redis: Redis, trait: str) -> None:
    """Keep clients with this trait from registering. Raises `StoreUnavailableError`."""
    async with guarded():
        await redis.register_script(_STORE)([keyspace.disabled_trait(trait)], ["1"])
