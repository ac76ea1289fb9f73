"""The records of registered clients.

`oauth_core.store.records.client_lifetimes` defines how long the record of a used client is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from oauth_core.crypto.credentials import is_identifier
from oauth_core.model import Client
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import guarded
from oauth_core.store.records import expiring_index, tombstones
from oauth_core.store.records.client_lifetimes import ClientLifetimes
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.model import Grant

_CLIENT = SignedCodec(Client)

# KEYS: client. ARGV: the record as it was read, the new record. A record that does not grow may have lost
# permissions. So the first write needs no memory, and a full Redis accepts the second (`keyspace`).
_SWAP = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
local left = redis.call('PTTL', KEYS[1])
if #ARGV[2] <= #ARGV[1] then redis.call('DEL', KEYS[1]) end
if left > 0 then redis.call('SET', KEYS[1], ARGV[2], 'PX', left) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1
"""


class ClientStore:
    """Stores clients. A `lifetime` is the seconds to keep a client after its last grant; 0 keeps it for ever."""

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key
        self._lifetimes = ClientLifetimes(redis)
        self._swap = redis.register_script(_SWAP)
        self._add_to_index = redis.register_script(expiring_index.ADD)

    async def add(self, client: Client, *, unused: int | None = None) -> None:
        """Store a new client. It expires after `unused` seconds without a consent; with `None` it never expires.

        Raises `StoreUnavailableError`, as every method here does.
        """
        redis_key = keyspace.client(client.client_id)
        async with guarded():
            await self._redis.set(redis_key, _CLIENT.dump(client, self._key, redis_key), ex=unused)

    async def swap(self, old: Client, new: Client) -> bool:
        """Replace `old` by `new`; returns whether `old` was stored, unchanged."""
        key = keyspace.client(old.client_id)
        async with guarded():
            text = await self._redis.get(key)
            if text is None or _CLIENT.load(text, self._key, key) != old:
                return False
            return bool(await self._swap([key], [text, _CLIENT.dump(new, self._key, key)]))

    async def get(self, client_id: str) -> Client | None:
        """Return the client, if it is registered.

        A lookup does not extend its lifetime, because any caller can look it up.
        """
        return await self.get_stored(client_id)

    async def get_stored(self, client_id: str) -> Client | None:
        """Return the client, if it has a record here."""
        # The id comes from the caller: a text that this gateway cannot have made never becomes part of a key.
        if not is_identifier(client_id):
            return None
        redis_key = keyspace.client(client_id)
        async with guarded():
            text = await self._redis.get(redis_key)
        return _CLIENT.load(text, self._key, redis_key)

    async def all(self) -> list[Client]:
        """Return every client, oldest first. For operators: it reads the records one by one."""
        found = []
        async for key in scan(self._redis, keyspace.ALL_CLIENTS):
            async with guarded():
                found.append(_CLIENT.load(await self._redis.get(key), self._key, key))
        clients = {client.client_id: client for client in found if client is not None}
        return sorted(clients.values(), key=lambda client: client.issued_at)

    async def exists(self, client_id: str) -> bool:
        """Return whether the client is registered now."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.client(client_id)))

    async def keep_for(self, client_id: str, seconds: int, *, lifetime: int) -> None:
        """Keep the client longer than a grant that ends in `seconds`; 0 when a person has just consented."""
        await self._lifetimes.keep_for(client_id, seconds, lifetime=lifetime)

    async def is_in_use(self, client_id: str) -> bool:
        """Return whether the client holds a grant, or held one a moment ago."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.client_grants(client_id)))

    async def remove_sibling_grant(self, client_id: str, grant: Grant, *, lifetime: int) -> None:
        """Let the client expire without regard to `grant`, which another client uses from now on."""
        await self._lifetimes.update_expiry(client_id, lifetime=lifetime, ended=grant.grant_id)

    async def index_sibling_grant(self, client_id: str, grant: Grant) -> None:
        """Record that the client uses `grant` of a sibling: this only keeps the client registered."""
        async with guarded():
            await self._add_to_index(
                [keyspace.sibling_grants(client_id)], [grant.grant_id, grant.expires_at, grant.created_at]
            )

    async def delete(self, client_id: str) -> int:
        """Delete the record; returns the milliseconds for which it would have been kept, 0 if there was none.

        `oauth_core.store.records.revocation.Revocation.delete_client` also ends the client's grants.
        """
        return await tombstones.delete_record(self._redis, keyspace.client(client_id))

    async def newest_grants(self, client_id: str, *, most: int) -> tuple[str, ...]:
        """The ids of up to `most` grants of the client, those that run out last; some may have ended."""
        async with guarded():
            indexed = self._redis.zrange(keyspace.client_grants(client_id), -most, -1)
            return tuple(await cast("Awaitable[list[str]]", indexed))

    async def index_grant(self, grant: Grant) -> None:
        """Record that its client holds a grant, before the grant is created, so that `Revocation` finds it."""
        async with guarded():
            await self._add_to_index(
                [keyspace.client_grants(grant.client_id)], [grant.grant_id, grant.expires_at, grant.created_at]
            )
