"""Registered clients. A record lives from its last use on, and never shorter than a grant it may hold."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, cast

from oauth_core.credentials import is_identifier
from oauth_core.identical_registrations import fingerprint
from oauth_core.machine_clients import is_of_operator
from oauth_core.model import Client
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded
from oauth_core.store.noted_grants import NOTE_GRANT

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.model import Grant

_CLIENT = Codec(Client)
_MOST_TRIES = 3

# Only ever lengthens: using a client that holds a year's grant must not cut its life to ninety days.
_TOUCH = """
local left = redis.call('TTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return left
"""

# KEYS: client. ARGV: the record as it was read, the one to put in its place.
_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""


class ClientStore:
    """`lifetime` is seconds after the last use; 0 keeps clients for ever."""

    def __init__(self, redis: Redis, *, lifetime: int) -> None:
        self._redis = redis
        self._lifetime = lifetime
        self._touch = redis.register_script(_TOUCH)
        self._swap = redis.register_script(_SWAP)
        self._note_grant = redis.register_script(NOTE_GRANT)

    async def add(self, client: Client) -> None:
        """Keep a new client. Raises `StoreUnavailableError`, as every method here does.

        One that an operator made stays until an operator deletes it.
        """
        lifetime = None if is_of_operator(client) else self._lifetime or None
        async with guarded():
            await self._redis.set(keyspace.client(client.client_id), _CLIENT.dump(client), ex=lifetime)

    async def add_or_share(self, client: Client) -> Client:
        """Keep a new client, or answer the one that said exactly the same of itself and is shared from now on."""
        name = fingerprint(client)
        if name is None:
            await self.add(client)
            return client
        async with guarded():
            known = await self._redis.get(keyspace.registration(name))
        if known is not None and (shared := await self._shared(str(known), name)) is not None:
            return shared
        await self.add(client)
        async with guarded():
            await self._redis.set(keyspace.registration(name), client.client_id, ex=self._lifetime or None)
        return client

    async def _shared(self, client_id: str, name: str) -> Client | None:
        """The client with this fingerprint, which is shared from now on; `None` when it is not to be had."""
        for _ in range(_MOST_TRIES):
            found = await ClientStore.get(self, client_id)
            if found is None or fingerprint(found) != name:
                return None
            shared = dataclasses.replace(found, sharing="shared")
            # Whoever manages or shares it at this moment comes first, and is looked at again.
            if found == shared or await self.swap(found, shared):
                return shared
        return None

    async def swap(self, old: Client, new: Client) -> bool:
        """Put `new` in the place of `old`; answers whether it was there, unchanged."""
        key = keyspace.client(old.client_id)
        async with guarded():
            text = await self._redis.get(key)
            if text is None or _CLIENT.load(text) != old:
                return False
            return bool(await self._swap([key], [text, _CLIENT.dump(new)]))

    async def get(self, client_id: str) -> Client | None:
        """The client, if it is registered. Looking it up is a use."""
        # The id is the caller's text: what is not of our making never becomes part of a key.
        if not is_identifier(client_id):
            return None
        async with guarded():
            key = keyspace.client(client_id)
            text = await self._redis.get(key)
            if text is None:
                return None
            await self._touch([key], [self._lifetime])
        return _CLIENT.load(text)

    async def look_at(self, client_id: str) -> Client | None:
        """The client, without that being a use."""
        if not is_identifier(client_id):
            return None
        async with guarded():
            text = await self._redis.get(keyspace.client(client_id))
        return None if text is None else _CLIENT.load(text)

    async def all(self) -> list[Client]:
        """Every client, oldest first, without that being a use. For an operator: it reads them one by one."""
        found = []
        async with guarded():
            async for key in self._redis.scan_iter(match=keyspace.ALL_CLIENTS, count=1000):
                text = await self._redis.get(key)
                if text is not None:
                    found.append(_CLIENT.load(text))
        return sorted({client.client_id: client for client in found}.values(), key=lambda client: client.issued_at)

    async def exists(self, client_id: str) -> bool:
        """Whether the client is registered at this moment."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.client(client_id)))

    async def keep_for(self, client_id: str, seconds: int) -> None:
        """Let the client live at least `seconds` from now, because a grant does."""
        async with guarded():
            await self._touch([keyspace.client(client_id)], [seconds])

    async def replace(self, client: Client) -> bool:
        """Change a client that still exists. Answers whether it did: a deleted one does not come back."""
        async with guarded():
            done = await self._redis.set(
                keyspace.client(client.client_id), _CLIENT.dump(client), xx=True, keepttl=True
            )
        return bool(done)

    async def delete(self, client_id: str) -> tuple[str, ...]:
        """Forget the client and answer the ids of its grants, for the caller to revoke.

        The client goes first: whoever is redeeming a code at this moment looks for it afterwards, and undoes.
        """
        async with guarded():
            await self._redis.delete(keyspace.client(client_id))
            key = keyspace.client_grants(client_id)
            members = cast("Awaitable[list[str]]", self._redis.zrange(key, 0, -1))
            grants = tuple(await members)
            await self._redis.delete(key)
        return grants

    async def remember_grant(self, grant: Grant) -> None:
        """Note that its client holds a grant, before the grant is made, so that `delete` finds it."""
        async with guarded():
            await self._note_grant(
                [keyspace.client_grants(grant.client_id)], [grant.grant_id, grant.expires_at, grant.created_at]
            )
