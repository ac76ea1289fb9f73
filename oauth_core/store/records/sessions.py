"""Browser sessions, by the hash of their cookie. An index by person allows ending all sessions of one person.

As with grants, another process can act between two steps. So a session is added to its person's index *before* it
exists, and after it exists the cutoffs are checked (`oauth_core.store.records.revocation`). Ending all sessions
sets the cutoff first. So either the revocation finds the session, or the creator of the session finds the cutoff.
The cutoff is effective before all sessions are found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from oauth_core.crypto.credentials import hash_secret, new_secret
from oauth_core.flows.sessions import Session
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import guarded
from oauth_core.store.records import expiring_index, revocation_cutoffs
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey

_SESSION = SignedCodec(Session)

# KEYS: the sessions of a person.
_TAKE_INDEX = """
local indexed = redis.call('ZRANGE', KEYS[1], 0, -1)
redis.call('DEL', KEYS[1])
return indexed
"""


class SessionStore:
    """Stores sessions. A session ends after `idle` seconds without a use. Raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis, key: RecordKey, *, idle: int) -> None:
        self._redis = redis
        self._key = key
        self._idle = idle
        self._add_to_index = redis.register_script(expiring_index.ADD)

    async def begin(self, session: Session) -> str:
        """Store a new session and return the new secret for its browser."""
        secret = new_secret()
        session_hash = hash_secret(secret)
        index = keyspace.user_sessions(session.user.github_id)
        async with guarded():
            await self._add_to_index([index], [session_hash, session.expires_at, session.signed_in_at])
            lifetime = min(self._idle, session.expires_at - session.signed_in_at)
            redis_key = keyspace.session(session_hash)
            await self._redis.set(redis_key, _SESSION.dump(session, self._key, redis_key), ex=lifetime)
        if await self._is_revoked(session):
            await self.end(session_hash, session.user.github_id)
        return secret

    async def get(self, session_hash: str, *, now: int) -> Session | None:
        """Return the session, unless it has ended. A lookup is a use, and restarts the idle time."""
        key = keyspace.session(session_hash)
        async with guarded():
            text = await self._redis.get(key)
        session = _SESSION.load(text, self._key, key)
        if session is None or now >= session.expires_at or await self._is_revoked(session):
            return None
        async with guarded():
            await self._redis.expire(key, min(self._idle, session.expires_at - now))
        return session

    async def of_user(self, github_id: int, *, now: int) -> list[Session]:
        """Return the active sessions of a person. This is no use of them."""
        found = []
        async with guarded():
            indexed = await self._redis.zrange(keyspace.user_sessions(github_id), 0, -1)
        for session_hash in map(str, indexed):
            key = keyspace.session(session_hash)
            async with guarded():
                text = await self._redis.get(key)
            session = _SESSION.load(text, self._key, key)
            if session is not None and now < session.expires_at and not await self._is_revoked(session):
                found.append(session)
        return found

    async def end(self, session_hash: str, github_id: int) -> bool:
        """End one session. Returns whether it was active."""
        async with guarded():
            existed = await self._redis.delete(keyspace.session(session_hash))
            await self._redis.zrem(keyspace.user_sessions(github_id), session_hash)
        return bool(existed)

    async def _is_revoked(self, session: Session) -> bool:
        return await revocation_cutoffs.is_cut_off(
            self._redis, at=session.signed_in_at, github_id=session.user.github_id
        )


async def end_all(redis: Redis, github_id: int) -> int:
    """End every session of a person, in every browser. Returns how many were active."""
    index = keyspace.user_sessions(github_id)
    async with guarded():
        indexed = cast("list[str]", await redis.register_script(_TAKE_INDEX)([index], []))
        return sum([await redis.delete(keyspace.session(session_hash)) for session_hash in indexed])


async def end_everybodys(redis: Redis) -> None:
    """End every session."""
    for pattern in (keyspace.ALL_SESSIONS, keyspace.ALL_USER_SESSIONS):
        async for key in scan(redis, pattern):
            async with guarded():
                await redis.delete(key)
