"""Browsers' sessions, by the hash of their cookie. Found by their person as well, so that all can be ended.

As with grants, two steps that are not one can be overtaken: a session is noted with its person *before* it exists,
and after it exists we look for cuts (`oauth_core.store.records.revocation`). Whoever ends sessions makes the cut
first, so either the session was there to be found, or its maker finds the cut. Until all are found a cut counts
already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from oauth_core.crypto.credentials import hash_secret, new_secret
from oauth_core.flows.sessions import Session
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import guarded
from oauth_core.store.records import revocation_cutoffs
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey

_SESSION = SignedCodec(Session)

# KEYS: the sessions of a person. ARGV: session, its expiry, now. The set lives as long as its longest member.
_NOTE = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[3])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
local longest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
return redis.call('EXPIREAT', KEYS[1], longest[2])
"""

# KEYS: the sessions of a person.
_TAKE_INDEX = """
local noted = redis.call('ZRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
return noted
"""


class SessionStore:
    """`idle` is the seconds without a use after which a session ends. Raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis, key: RecordKey, *, idle: int) -> None:
        self._redis = redis
        self._key = key
        self._idle = idle
        self._note = redis.register_script(_NOTE)

    async def begin(self, session: Session) -> str:
        """Keep a new session and answer the secret for its browser, which was never anybody's before."""
        secret = new_secret()
        session_hash = hash_secret(secret)
        index = keyspace.user_sessions(session.user.github_id)
        async with guarded():
            await self._note([index], [session_hash, session.expires_at, session.signed_in_at])
            lifetime = min(self._idle, session.expires_at - session.signed_in_at)
            place = keyspace.session(session_hash)
            await self._redis.set(place, _SESSION.dump(session, self._key, place), ex=lifetime)
        if await self._is_revoked(session):
            await self.end(session_hash, session.user.github_id)
        return secret

    async def get(self, session_hash: str, *, now: int) -> Session | None:
        """The session, while it lives. Looking it up is a use, and puts its idle end off."""
        key = keyspace.session(session_hash)
        async with guarded():
            text = await self._redis.get(key)
        session = _SESSION.load(text, self._key, key)
        if session is None or now >= session.expires_at or await self._is_revoked(session):
            return None
        async with guarded():
            await self._redis.expire(key, min(self._idle, session.expires_at - now))
        return session

    async def end(self, session_hash: str, github_id: int) -> bool:
        """End one session. Answers whether it was alive."""
        async with guarded():
            existed = await self._redis.delete(keyspace.session(session_hash))
            await self._redis.zrem(keyspace.user_sessions(github_id), session_hash)
        return bool(existed)

    async def _is_revoked(self, session: Session) -> bool:
        return await revocation_cutoffs.reach(
            self._redis, at=session.signed_in_at, github_id=session.user.github_id
        )


async def end_all(redis: Redis, github_id: int) -> int:
    """End every session of a person, in whatever browser. Answers how many were alive."""
    index = keyspace.user_sessions(github_id)
    async with guarded():
        indexed = cast("list[str]", await redis.register_script(_TAKE_INDEX)([index], []))
        return sum([await redis.delete(keyspace.session(session_hash)) for session_hash in indexed])


async def end_everybodys(redis: Redis) -> None:
    """End every session there is."""
    for pattern in (keyspace.ALL_SESSIONS, keyspace.ALL_USER_SESSIONS):
        async for key in scan(redis, pattern):
            async with guarded():
                await redis.delete(key)
