"""Grants, their refresh tokens and the access tokens they gave.

A grant and its refresh token are one Redis hash, so creating, rotating and ending are each one atomic step. The
access tokens live elsewhere (`token:<jti>`, so that a plain `DEL` revokes one), and two steps that are not one
can be overtaken. The order closes the gap: a token's id is noted with its grant *before* the token exists, and
after it exists the issuer asks whether the grant still does. Whoever ends a grant deletes every token noted.
So either the ender saw the note, or the issuer sees that the grant is gone; no token outlives its grant. The same
order holds when the groups of a grant change: a token says which groups its user was in, so every token noted is
deleted after the change is written, and the issuer asks whether the groups are still those of the token.

A person's grants are found by `user-grants:<GitHub id>`, where a grant is noted before it exists as well. What is
noted there and does not exist (any more) is nothing.
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
from oauth_core.store.codec import SignedCodec, place_in
from oauth_core.store.connection import guarded
from oauth_core.store.records.client_lifetimes import ClientLifetimes
from oauth_core.store.records.grant_index import NOTE_GRANT
from oauth_core.store.records.refresh_rotation import MOST_ANCESTORS, ROTATE, RefreshState, outcome_of
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

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

# KEYS: grant, its tokens. ARGV: jti, expiry, now, the set's life.
_NOTE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', ARGV[3])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
redis.call('EXPIREAT', KEYS[2], ARGV[4])
return 1
"""

# KEYS: grant, its tokens. ARGV: record. The state of the refresh token stays as it is. Somebody may have lost
# rights, so it works without memory: the first write cannot grow (`oauth_core.store.keyspace`).
_REPLACE = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, {}} end
redis.call('HDEL', KEYS[1], 'unused')
redis.call('HSET', KEYS[1], 'record', ARGV[1])
return {1, redis.call('ZRANGE', KEYS[2], 0, -1)}
"""

# KEYS: grant, its tokens, the note that it ended. ARGV: the most milliseconds that the note lives. It lives as
# long as the grant would have, or until no backup with the grant may be restored any more. The tokens stay noted
# until each of them is deleted, so that what was left undone is found.
_END = """
local tokens = redis.call('ZRANGE', KEYS[2], 0, -1)
local found = redis.call('HMGET', KEYS[1], 'record', 'sibling')
local left = redis.call('PTTL', KEYS[1])
local existed = redis.call('DEL', KEYS[1])
if left > 0 then redis.call('SET', KEYS[3], '1', 'PX', math.min(left, tonumber(ARGV[1]))) end
return {existed, tokens, found[1], found[2]}
"""

# KEYS: grant. ARGV: client. Answers the client that was noted before.
_NOTE_SIBLING = """
if redis.call('EXISTS', KEYS[1]) == 0 then return false end
local before = redis.call('HGET', KEYS[1], 'sibling')
if before ~= ARGV[1] then redis.call('HSET', KEYS[1], 'sibling', ARGV[1]) end
return before
"""


class GrantStore:
    """`grace` is the seconds after the use of its successor in which a refresh token is still answered.

    `client_lifetime` is the seconds that a client outlives its last grant; 0 keeps it for ever. `backup_days` is
    the days for which a backup may be restored over what Redis has.
    """

    def __init__(
        self, redis: Redis, key: RecordKey, *, grace: int, client_lifetime: int = 86_400, backup_days: int = 30
    ) -> None:
        self._redis = redis
        self._key = key
        self._grace = grace
        self.notes_live = backup_days * 86_400_000
        self._create = redis.register_script(_CREATE)
        self._rotate = redis.register_script(ROTATE)
        self._note = redis.register_script(_NOTE)
        self._replace = redis.register_script(_REPLACE)
        self._note_for_user = redis.register_script(NOTE_GRANT)
        self._end = redis.register_script(_END)
        self._note_sibling = redis.register_script(_NOTE_SIBLING)
        self._client_lives = ClientLifetimes(redis, lifetime=client_lifetime)

    async def create(self, grant: Grant, token: RefreshToken | None) -> None:
        """Keep a grant, with the first refresh token of its family if it is to have any.

        Raises `StoreUnavailableError`.
        """
        place = keyspace.grant(grant.grant_id)
        family = [] if token is None else self._stored(token)
        await self.index(grant)
        async with guarded():
            await self._create([place], [_GRANT.dump(grant, self._key, place), grant.expires_at, *family])

    def _stored(self, token: RefreshToken) -> list[str]:
        """How the family and the secret of a refresh token are stored: as codes of their hashes.

        With plain hashes an attacker with write access could put the hash of their own secret into the grant of
        another person.
        """
        place = keyspace.grant(token.grant_id)
        return [stored_refresh_hash(self._key, place, part) for part in (token.family_hash, token.secret_hash)]

    async def index(self, grant: Grant) -> None:
        """Note whose grant it is, so that `of_user` finds it."""
        if grant.user is None:
            return
        keys = [keyspace.user_grants(grant.user.github_id)]
        async with guarded():
            await self._note_for_user(keys, [grant.grant_id, grant.expires_at, grant.created_at])

    async def get(self, grant_id: str) -> Grant | None:
        """The grant, while it lives."""
        place = keyspace.grant(grant_id)
        async with guarded():
            record = await cast("Awaitable[str | None]", self._redis.hget(place, "record"))
        return _GRANT.load(record, self._key, place)

    async def all_ids(self) -> AsyncIterator[str]:
        """The ids of all grants; one may come twice, and one that begins or ends meanwhile may be missing."""
        prefix, _, suffix = keyspace.ALL_GRANTS.partition("*")
        async for key in scan(self._redis, keyspace.ALL_GRANTS):
            yield key.removeprefix(prefix).removesuffix(suffix)

    async def all_user_ids(self) -> AsyncIterator[int]:
        """The GitHub ids of people who may have grants; one may come twice."""
        async for key in scan(self._redis, keyspace.ALL_USER_GRANTS):
            yield int(key.rpartition(":")[2])

    async def of_user(self, github_id: int) -> tuple[Grant, ...]:
        """The grants that a person gave and that live at this moment, oldest first."""
        async with guarded():
            members = cast("Awaitable[list[str]]", self._redis.zrange(keyspace.user_grants(github_id), 0, -1))
            grant_ids = await members
        found = [await self.get(grant_id) for grant_id in grant_ids]
        living = [grant for grant in found if grant is not None]
        return tuple(sorted(living, key=lambda grant: (grant.created_at, grant.grant_id)))

    async def too_many_of_user(self, newest: Grant, *, most: int) -> tuple[str, ...]:
        """The ids of the grants that are too many of the person of `newest`, which is never one of them.

        A person may have `most`. The clients with the most grants of the person lose theirs, those that end first.
        So a client that a person allowed once cannot push out the grants of the person's other clients.
        """
        if newest.user is None:
            return ()
        key = keyspace.user_grants(newest.user.github_id)
        async with guarded():
            excess = await self._redis.zcard(key) - most
            if excess <= 0:
                return ()
            noted = await cast("Awaitable[list[str]]", self._redis.zrange(key, 0, -1))
            async with self._redis.pipeline(transaction=False) as pipeline:
                for grant_id in noted:
                    pipeline.hget(keyspace.grant(grant_id), "record")
                records = await pipeline.execute()
        of_client: dict[str, list[str]] = {}
        for grant_id, record in zip(noted, records, strict=True):
            grant = _GRANT.load(record, self._key, keyspace.grant(grant_id))
            if grant_id != newest.grant_id:
                of_client.setdefault("" if grant is None else grant.client_id, []).append(grant_id)
        of_client.setdefault(newest.client_id, []).append(newest.grant_id)  # counts, and goes last
        too_many: list[str] = []
        while len(too_many) < excess and any(of_client.values()):
            largest = max(of_client.values(), key=len)
            if (grant_id := largest.pop(0)) != newest.grant_id:
                too_many.append(grant_id)
        return tuple(too_many)

    async def refreshed_at(self, grant_id: str) -> int | None:
        """When the refresh token of a grant was last rotated, if ever."""
        async with guarded():
            found = self._redis.hget(keyspace.grant(grant_id), "rotated_at")
            rotated_at = await cast("Awaitable[str | None]", found)
        return None if rotated_at is None else int(rotated_at)

    async def state_of(self, presented: RefreshToken) -> RefreshState:
        """Where `presented` stands in its family. Uses nothing up."""
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
        self, presented: RefreshToken, successor: RefreshToken, *, now: int, retry_window: int
    ) -> Rotation:
        """Put `successor` in the place of `presented`, if that is the current token; say what was found.

        `retry_window` is the seconds in which the token that was replaced last is answered with its successor, as
        long as that has not been used; it is never shorter than the grace.
        """
        sealed = presented.seal_successor(successor)
        windows = [self._grace, max(self._grace, retry_window), MOST_ANCESTORS]
        async with guarded():
            reply = await self._rotate(
                [keyspace.grant(presented.grant_id)],
                [*self._stored(presented), self._stored(successor)[1], sealed, now, *windows],
            )
        return outcome_of(reply)

    async def add_token(self, grant: Grant, claims: AccessClaims) -> bool:
        """Bring an access token to life under `grant`.

        Answers False, and leaves nothing, if the grant ended or has other groups or another login than the token.
        """
        keys = [keyspace.grant(grant.grant_id), keyspace.grant_tokens(grant.grant_id)]
        async with guarded():
            if not await self._note(keys, [claims.jti, claims.exp, claims.iat, grant.expires_at]):
                return False
            await self._redis.set(keyspace.token(claims.jti), grant.grant_id, exat=claims.exp)
            current = await self.get(grant.grant_id)
            login = None if current is None or current.user is None else current.user.login
            if current is None or (current.groups, login) != (claims.groups, claims.github_user):
                await self._redis.delete(keyspace.token(claims.jti))
                return False
        return True

    async def regroup(self, grant: Grant, groups: tuple[str, ...], user: User | None = None) -> Grant | None:
        """Note that the user of `grant` is in other groups, or is called otherwise if `user` is given.

        The access tokens that say otherwise end.

        Answers the grant as it is now; `None` if it ended.
        """
        changed = replace(grant, groups=groups, user=user or grant.user)
        keys = [keyspace.grant(grant.grant_id), keyspace.grant_tokens(grant.grant_id)]
        async with guarded():
            exists, tokens = await self._replace(keys, [_GRANT.dump(changed, self._key, keys[0])])
            for jti in tokens:
                await self._redis.delete(keyspace.token(jti))
        return changed if exists else None

    async def tokens_of(self, grant_id: str) -> dict[str, int]:
        """The access tokens of a grant that are alive: `jti` to the second of expiry."""
        async with guarded():
            noted = await cast(
                "Awaitable[list[tuple[str, float]]]",
                self._redis.zrange(keyspace.grant_tokens(grant_id), 0, -1, withscores=True),
            )
            return {jti: int(exp) for jti, exp in noted if await self._redis.exists(keyspace.token(jti))}

    async def grant_of_token(self, jti: str) -> str | None:
        """The id of the grant of an access token that is alive."""
        async with guarded():
            return cast("str | None", await self._redis.get(keyspace.token(jti)))

    async def token_lives(self, jti: str) -> bool:
        """Whether an access token is alive at this moment."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.token(jti)))

    async def end_token(self, jti: str) -> bool:
        """End one access token and leave its grant alone. Answers whether it was alive."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.token(jti)))

    async def end(self, grant_id: str) -> bool:
        """End the grant, its refresh tokens and every access token it gave. Answers whether it existed.

        Needs no memory. If it raises, calling it again ends what was left.
        """
        grant_tokens = keyspace.grant_tokens(grant_id)
        async with guarded():
            existed, tokens, record, sibling = await self._end(
                [keyspace.grant(grant_id), grant_tokens, keyspace.ended_grant(grant_id)], [self.notes_live]
            )
        failed = None
        for jti in tokens:  # one by one: they lie on different nodes of a cluster, of which one may be away
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
        # Everything has ended by now. A record of a client that lives too long harms nobody.
        with suppress(StoreUnavailableError):
            if grant is not None:
                await self._client_lives.settle(grant.client_id, ended=grant_id)
            if sibling is not None:
                await self._client_lives.settle(sibling, ended=grant_id)
        return bool(existed)

    async def note_sibling(self, grant: Grant, client_id: str) -> str | None:
        """Note that `client_id`, a sibling of the client of `grant`, uses it; answers the sibling noted before."""
        async with guarded():
            return cast("str | None", await self._note_sibling([keyspace.grant(grant.grant_id)], [client_id]))

    async def sibling_of(self, grant_id: str) -> str | None:
        """The client that uses a grant and is a sibling of the grant's own client, if there is one."""
        async with guarded():
            found = self._redis.hget(keyspace.grant(grant_id), "sibling")
            return await cast("Awaitable[str | None]", found)


def stored_refresh_hash(key: RecordKey, place: str, secret_hash: str) -> str:
    """How the hash of a part of a refresh token is stored in the grant at `place`."""
    return key.code_of(place_in(place, "refresh"), secret_hash)
