"""Grants, their refresh tokens and their access tokens.

A grant and its refresh token are one Redis hash, so creating, rotating and ending are each one atomic step. The
access tokens are separate keys (`token:<jti>`, so that a plain `DEL` revokes one), and another process can act
between two steps. The order of the steps prevents a race. A token's id is added to its grant's index *before* the
token exists, and after it exists the issuer checks that the grant still exists. Ending a grant deletes every token
in its index. So either the end of the grant finds the token in the index, or the issuer sees that the grant is
gone; no token outlives its grant. The same order protects a change of groups, because a token contains its user's
groups: every token in the index is deleted after the change is written, and the issuer checks that the groups are
still those of the token.

The index `user-grants:<GitHub id>` contains a person's grants. A grant is added to it before the grant exists, so
an id in it without a grant is ignored.
"""

from __future__ import annotations

import hmac
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from oauth_core.errors import StoreUnavailableError
from oauth_core.model import Grant
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec, location_in_hash
from oauth_core.store.connection import guarded
from oauth_core.store.records import expiring_index
from oauth_core.store.records.client_lifetimes import ClientLifetimes
from oauth_core.store.records.refresh_rotation import MOST_ANCESTORS, ROTATE, RefreshState, outcome_of
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Sequence

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.model import AccessClaims, User
    from oauth_core.store.records.refresh_rotation import Rotation
    from oauth_core.tokens.refresh_tokens import RefreshToken

_GRANT = SignedCodec(Grant)

# KEYS: grant. ARGV: record, expiry, then family and current secret if it has refresh tokens.
_CREATE = """
redis.call('HSET', KEYS[1], 'record', ARGV[1])
if ARGV[3] then redis.call('HSET', KEYS[1], 'family', ARGV[3], 'current', ARGV[4]) end
redis.call('EXPIREAT', KEYS[1], ARGV[2])
return 1
"""

# KEYS: grant, its tokens. ARGV: jti, expiry, now, the set's expiry.
_INDEX_TOKEN = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('EXPIREAT', KEYS[2], ARGV[4])
return 1
"""

# KEYS: grant, its tokens. ARGV: record. The state of the refresh token does not change. The change may take rights
# away, so it works without memory: the first write cannot grow (`oauth_core.store.keyspace`).
_REPLACE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, {}} end
redis.call('HDEL', KEYS[1], 'unused')
redis.call('HSET', KEYS[1], 'record', ARGV[1])
return {1, redis.call('ZRANGE', KEYS[2], 0, -1)}
"""

# KEYS: grant, its tokens, its tombstone. ARGV: the longest lifetime of the tombstone in milliseconds. It is kept
# as long as the grant would have been, or until no backup with the grant may be restored any more. The tokens stay
# in the index until each of them is deleted, so that a repeated call finds the rest.
_END = """
local tokens = redis.call('ZRANGE', KEYS[2], 0, -1)
local found = redis.call('HMGET', KEYS[1], 'record', 'sibling')
local left = redis.call('PTTL', KEYS[1])
local existed = redis.call('DEL', KEYS[1])
if left > 0 then redis.call('SET', KEYS[3], '1', 'PX', math.min(left, tonumber(ARGV[1]))) end
return {existed, tokens, found[1], found[2]}
"""

# KEYS: grant. ARGV: client. Returns the client that was recorded before.
_RECORD_SIBLING = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local before = redis.call('HGET', KEYS[1], 'sibling')
if before ~= ARGV[1] then redis.call('HSET', KEYS[1], 'sibling', ARGV[1]) end
return before
"""


class GrantStore:
    """Stores grants.

    `client_lifetime` is the seconds that a client is kept after its last grant; 0 keeps it for ever. `backup_days`
    is the days for which a backup may be restored over the contents of Redis.
    """

    def __init__(
        self, redis: Redis, key: RecordKey, *, client_lifetime: int = 86_400, backup_days: int = 30
    ) -> None:
        self._redis = redis
        self._key = key
        self.tombstone_lifetime = backup_days * 86_400_000
        """The longest lifetime of a tombstone in milliseconds."""
        self._create = redis.register_script(_CREATE)
        self._rotate = redis.register_script(ROTATE)
        self._index_token = redis.register_script(_INDEX_TOKEN)
        self._replace = redis.register_script(_REPLACE)
        self._add_to_user_index = redis.register_script(expiring_index.ADD)
        self._end = redis.register_script(_END)
        self._record_sibling = redis.register_script(_RECORD_SIBLING)
        self._client_lifetime = client_lifetime
        self._client_lifetimes = ClientLifetimes(redis)

    async def create(self, grant: Grant, token: RefreshToken | None) -> None:
        """Store a grant, with the first refresh token of its family if it is to have any.

        Raises `StoreUnavailableError`.
        """
        redis_key = keyspace.grant(grant.grant_id)
        family = [] if token is None else self._stored(token)
        await self.index(grant)
        async with guarded():
            await self._create([redis_key], [_GRANT.dump(grant, self._key, redis_key), grant.expires_at, *family])

    def _stored(self, token: RefreshToken) -> list[str]:
        """Return the stored form of the family and the secret of a refresh token: the codes of their hashes.

        With plain hashes an attacker with write access could put the hash of their own secret into the grant of
        another person.
        """
        redis_key = keyspace.grant(token.grant_id)
        return [stored_refresh_hash(self._key, redis_key, part) for part in (token.family_hash, token.secret_hash)]

    async def index(self, grant: Grant) -> None:
        """Add the grant to its person's index, so that `of_user` finds it."""
        if grant.user is None:
            return
        keys = [keyspace.user_grants(grant.user.github_id)]
        async with guarded():
            await self._add_to_user_index(keys, [grant.grant_id, grant.expires_at, grant.created_at])

    async def get(self, grant_id: str) -> Grant | None:
        """Return the grant, unless it has ended."""
        redis_key = keyspace.grant(grant_id)
        async with guarded():
            record = await cast("Awaitable[str | None]", self._redis.hget(redis_key, "record"))
        return _GRANT.load(record, self._key, redis_key)

    async def get_many(self, grant_ids: Sequence[str]) -> tuple[Grant, ...]:
        """Those of these grants that live, in one round trip."""
        redis_keys = [keyspace.grant(grant_id) for grant_id in grant_ids]
        async with guarded(), self._redis.pipeline(transaction=False) as pipeline:
            for redis_key in redis_keys:
                pipeline.hget(redis_key, "record")
            records = await pipeline.execute()
        found = (
            _GRANT.load(record, self._key, redis_key)
            for record, redis_key in zip(records, redis_keys, strict=True)
        )
        return tuple(grant for grant in found if grant is not None)

    async def all_ids(self) -> AsyncIterator[str]:
        """Yield the ids of all grants. One may come twice; one that begins or ends meanwhile may be missing."""
        prefix, _, suffix = keyspace.ALL_GRANTS.partition("*")
        async for key in scan(self._redis, keyspace.ALL_GRANTS):
            yield key.removeprefix(prefix).removesuffix(suffix)

    async def all_user_ids(self) -> AsyncIterator[int]:
        """Yield the GitHub ids of people who may have grants; one may come twice."""
        async for key in scan(self._redis, keyspace.ALL_USER_GRANTS):
            yield int(key.rpartition(":")[2])

    async def of_user(self, github_id: int) -> tuple[Grant, ...]:
        """Return the present grants of a person, oldest first."""
        async with guarded():
            members = cast("Awaitable[list[str]]", self._redis.zrange(keyspace.user_grants(github_id), 0, -1))
            grant_ids = await members
        found = [await self.get(grant_id) for grant_id in grant_ids]
        living = [grant for grant in found if grant is not None]
        return tuple(sorted(living, key=lambda grant: (grant.created_at, grant.grant_id)))

    async def too_many_of_user(self, newest: Grant, *, most: int) -> tuple[str, ...]:
        """Return the ids of grants that exceed the limit of the person of `newest`; never the id of `newest`.

        A person may have `most`. The clients that hold the most grants of the person lose theirs, the earliest to
        expire first. So a client that a person allowed once cannot displace the grants of the person's other
        clients.
        """
        if newest.user is None:
            return ()
        key = keyspace.user_grants(newest.user.github_id)
        async with guarded():
            excess = await self._redis.zcard(key) - most
            if excess <= 0:
                return ()
            indexed = await cast("Awaitable[list[str]]", self._redis.zrange(key, 0, -1))
            async with self._redis.pipeline(transaction=False) as pipeline:
                for grant_id in indexed:
                    pipeline.hget(keyspace.grant(grant_id), "record")
                records = await pipeline.execute()
        of_client: dict[str, list[str]] = {}
        for grant_id, record in zip(indexed, records, strict=True):
            grant = _GRANT.load(record, self._key, keyspace.grant(grant_id))
            if grant_id != newest.grant_id:
                of_client.setdefault("" if grant is None else grant.client_id, []).append(grant_id)
        of_client.setdefault(newest.client_id, []).append(newest.grant_id)  # counts, and is removed last
        too_many: list[str] = []
        while len(too_many) < excess and any(of_client.values()):
            largest = max(of_client.values(), key=len)
            if (grant_id := largest.pop(0)) != newest.grant_id:
                too_many.append(grant_id)
        return tuple(too_many)

    async def refreshed_at(self, grant_id: str) -> int | None:
        """Return when the refresh token of a grant was last rotated, if ever."""
        async with guarded():
            found = self._redis.hget(keyspace.grant(grant_id), "rotated_at")
            rotated_at = await cast("Awaitable[str | None]", found)
        return None if rotated_at is None else int(rotated_at)

    async def state_of(self, presented: RefreshToken) -> RefreshState:
        """Return the state of `presented` in its family. Uses nothing up."""
        async with guarded():
            found = await cast(
                "Awaitable[list[str | None]]",
                self._redis.hmget(
                    keyspace.grant(presented.grant_id), ["family", "current", "previous", "ancestors"]
                ),
            )
        family, current, previous, ancestors = (value or "" for value in found)
        its_family, its_secret = self._stored(presented)
        if not hmac.compare_digest(its_family, family):
            return RefreshState.OTHER
        if hmac.compare_digest(its_secret, current):
            return RefreshState.CURRENT
        if hmac.compare_digest(its_secret, previous):
            return RefreshState.PREVIOUS
        older = [secret for secret, *_ in json.loads(ancestors or "[]")]
        is_older = any(hmac.compare_digest(its_secret, secret) for secret in older)
        return RefreshState.OLDER if is_older else RefreshState.OTHER

    async def rotate(
        self,
        presented: RefreshToken,
        successor: RefreshToken,
        *,
        now: int,
        grace: int,
        retry_window: int,
        source: str,
    ) -> Rotation:
        """Replace `presented` by `successor`, if it is the current token; returns the outcome.

        `grace` is the seconds after the use of its successor in which a refresh token is still answered.
        `retry_window` is the seconds in which the token that was replaced last is answered with its successor, as
        long as that has not been used; it is never shorter than the grace. `source` names the caller's address.
        """
        key = keyspace.grant(presented.grant_id)
        came_from = self._key.code_of(f"{key} rotated_from", source)  # no address in Redis
        sealed = presented.seal_successor(successor)
        windows = [grace, max(grace, retry_window), MOST_ANCESTORS]
        async with guarded():
            reply = await self._rotate(
                [key], [*self._stored(presented), self._stored(successor)[1], sealed, now, *windows, came_from]
            )
        return outcome_of(reply)

    async def add_token(self, grant: Grant, claims: AccessClaims) -> bool:
        """Make an access token active under `grant`.

        Returns False, and leaves no token, if the grant has ended or its groups or login differ from those of the
        token.
        """
        keys = [keyspace.grant(grant.grant_id), keyspace.grant_tokens(grant.grant_id)]
        async with guarded():
            if not await self._index_token(keys, [claims.jti, claims.exp, claims.iat, grant.expires_at]):
                return False
            await self._redis.set(keyspace.token(claims.jti), grant.grant_id, exat=claims.exp)
            current = await self.get(grant.grant_id)
            login = None if current is None or current.user is None else current.user.login
            if current is None or (current.groups, login) != (claims.groups, claims.github_user):
                await self._redis.delete(keyspace.token(claims.jti))
                return False
        return True

    async def regroup(self, grant: Grant, groups: tuple[str, ...], user: User | None = None) -> Grant | None:
        """Store new groups of the user of `grant`, and the user's new login if `user` is given.

        The access tokens of the grant end, because they contain the old values. Returns the grant as it is now;
        `None` if it has ended.
        """
        changed = replace(grant, groups=groups, user=user or grant.user)
        keys = [keyspace.grant(grant.grant_id), keyspace.grant_tokens(grant.grant_id)]
        async with guarded():
            exists, tokens = await self._replace(keys, [_GRANT.dump(changed, self._key, keys[0])])
            for jti in tokens:
                await self._redis.delete(keyspace.token(jti))
        return changed if exists else None

    async def tokens_of(self, grant_id: str) -> dict[str, int]:
        """Return the active access tokens of a grant: `jti` to the second of expiry."""
        async with guarded():
            indexed = await cast(
                "Awaitable[list[tuple[str, float]]]",
                self._redis.zrange(keyspace.grant_tokens(grant_id), 0, -1, withscores=True),
            )
            return {jti: int(exp) for jti, exp in indexed if await self._redis.exists(keyspace.token(jti))}

    async def grant_of_token(self, jti: str) -> str | None:
        """Return the id of the grant of an active access token."""
        async with guarded():
            return cast("str | None", await self._redis.get(keyspace.token(jti)))

    async def is_token_active(self, jti: str) -> bool:
        """Return whether an access token is active now."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.token(jti)))

    async def end_token(self, jti: str) -> bool:
        """End one access token, not its grant. Returns whether the token was active."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.token(jti)))

    async def end(self, grant_id: str) -> bool:
        """End the grant, its refresh tokens and all its access tokens. Returns whether it existed.

        Needs no memory. If it raises, another call completes the work.
        """
        grant_tokens = keyspace.grant_tokens(grant_id)
        async with guarded():
            existed, tokens, record, sibling = await self._end(
                [keyspace.grant(grant_id), grant_tokens, keyspace.ended_grant(grant_id)], [self.tombstone_lifetime]
            )
        failed = None
        for jti in tokens:  # one by one: they are on different nodes of a cluster, and one may be unreachable
            try:
                await self.end_token(jti)
            except StoreUnavailableError as error:
                failed = error
        if failed is not None:
            raise failed
        grant = _GRANT.load(record, self._key, keyspace.grant(grant_id))
        async with guarded():
            if tokens:
                await self._redis.zrem(grant_tokens, *tokens)
            if grant is not None and grant.user is not None:
                await self._redis.zrem(keyspace.user_grants(grant.user.github_id), grant_id)
        # All rights have ended by now. A client record that is kept too long does no harm.
        with suppress(StoreUnavailableError):
            if grant is not None:
                await self._client_lifetimes.update_expiry(
                    grant.client_id, lifetime=self._client_lifetime, ended=grant_id
                )
            if sibling is not None:
                await self._client_lifetimes.update_expiry(sibling, lifetime=self._client_lifetime, ended=grant_id)
        return bool(existed)

    async def record_sibling(self, grant: Grant, client_id: str) -> str | None:
        """Record that `client_id`, a sibling of the client of `grant`, uses it; returns the sibling before."""
        async with guarded():
            return cast("str | None", await self._record_sibling([keyspace.grant(grant.grant_id)], [client_id]))

    async def sibling_of(self, grant_id: str) -> str | None:
        """Return the sibling of the grant's own client that uses the grant, if there is one."""
        async with guarded():
            found = self._redis.hget(keyspace.grant(grant_id), "sibling")
            return await cast("Awaitable[str | None]", found)


def stored_refresh_hash(key: RecordKey, redis_key: str, secret_hash: str) -> str:
    """Return the stored form of the hash of one part of a refresh token, for the grant at `redis_key`."""
    return key.code_of(location_in_hash(redis_key, "refresh"), secret_hash)
