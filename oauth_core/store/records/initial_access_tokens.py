"""Active initial access tokens, and the registrations that each still allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from oauth_core.clients import initial_access_tokens
from oauth_core.crypto.credentials import is_identifier
from oauth_core.model import InitialAccessToken
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import guarded
from oauth_core.store.records import tombstones
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.clients.initial_access_tokens import NewInitialAccessToken
    from oauth_core.crypto.record_authentication import RecordKey

_TOKEN = SignedCodec(InitialAccessToken)

# KEYS: token. ARGV: record, uses, expires_at.
_ADD = """
redis.call('HSET', KEYS[1], 'record', ARGV[1], 'left', ARGV[2])
redis.call('EXPIREAT', KEYS[1], ARGV[3])
return 1
"""
# Returns 1 only as often as the token has uses. KEYS: token. ARGV: the uses that its record allows. The number
# beside the record has no authentication code, and another party could raise it. After the last use it also
# returns the milliseconds for which the token would have been kept.
_USE = """
local left = math.min(tonumber(redis.call('HGET', KEYS[1], 'left') or '0'), tonumber(ARGV[1]))
if left <= 0 then return {0, 0} end
local lifetime = redis.call('PTTL', KEYS[1])
if left == 1 then redis.call('DEL', KEYS[1]) else redis.call('HSET', KEYS[1], 'left', left - 1) end
return left == 1 and {1, lifetime} or {1, 0}
"""


@dataclass(frozen=True)
class StoredToken:
    """An active token that allows `left` more registrations."""

    token: InitialAccessToken
    left: int


class InitialAccessTokenStore:
    """Stores tokens. Every method raises `StoreUnavailableError`. A plain `DEL` of its key revokes a token."""

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key
        self._add = redis.register_script(_ADD)
        self._use = redis.register_script(_USE)

    async def add(self, issued: NewInitialAccessToken) -> None:
        """Make a new token active."""
        token = issued.token
        redis_key = keyspace.initial_access_token(token.token_id)
        async with guarded():
            await self._add([redis_key], [_TOKEN.dump(token, self._key, redis_key), token.uses, token.expires_at])

    async def find_by_secret(self, text: str, *, now: int) -> InitialAccessToken | None:
        """Return the token that `text` is, if it is active. This does not use it."""
        token_id = initial_access_tokens.id_of(text)
        stored = None if token_id is None else await self.get(token_id)
        token = stored.token if stored else None
        return token if initial_access_tokens.proves(text, token, now=now) else None

    async def use(self, token_id: str) -> bool:
        """Use a token once; returns whether there was a use left."""
        stored = await self.get(token_id)
        if stored is None:
            return False
        async with guarded():
            used, lifetime_ms = await self._use([keyspace.initial_access_token(token_id)], [stored.token.uses])
        if lifetime_ms > 0:
            await tombstones.write(self._redis, keyspace.ended_invite(token_id), lifetime_ms=lifetime_ms)
        return bool(used)

    async def get(self, token_id: str) -> StoredToken | None:
        """Return the token with this id, if it is active."""
        if not is_identifier(token_id):
            return None
        return await self._at(keyspace.initial_access_token(token_id))

    async def all(self) -> list[StoredToken]:
        """Return every active token, oldest first. It reads the records one by one."""
        keys = {key async for key in scan(self._redis, keyspace.ALL_INITIAL_ACCESS_TOKENS)}
        found = [await self._at(key) for key in keys]
        return sorted(
            (stored for stored in found if stored is not None),
            key=lambda stored: (stored.token.issued_at, stored.token.token_id),
        )

    async def revoke(self, token_id: str) -> bool:
        """End a token; returns whether it was active. Clients that registered with it stay.

        The tombstone is written in any case: an earlier call may have ended the token while Redis refused the
        tombstone.
        """
        if not is_identifier(token_id):
            return False
        redis_key = keyspace.initial_access_token(token_id)
        lifetime_ms = await tombstones.delete_record(self._redis, redis_key)
        await tombstones.write(
            self._redis,
            keyspace.ended_invite(token_id),
            lifetime_ms=lifetime_ms or keyspace.CUTOFF_LIFETIME * 1000,
        )
        return bool(lifetime_ms)

    async def _at(self, key: str) -> StoredToken | None:
        async with guarded():
            found = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(key))
        token = _TOKEN.load(found.get("record"), self._key, key)
        # The number beside the record has no authentication code: another party that writes to Redis could raise
        # it.
        return None if token is None else StoredToken(token, min(token.uses, int(found["left"])))
