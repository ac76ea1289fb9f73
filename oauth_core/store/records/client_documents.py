"""What clients publish, as last fetched: the last good copy, what went wrong lately, how often a host was asked.

Shared by every process, so that more replicas do not mean more fetches.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from oauth_core.crypto.credentials import hash_secret
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey

# It never shortens a life: a grant may have asked for a longer one. KEYS: document. ARGV: seconds.
_LENGTHEN = """
local left = redis.call('TTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return left
"""
# KEYS: document. ARGV: the life of a new one, body, fetched_at, fresh_until, code of these three.
_KEEP = """
local is_new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('HSET', KEYS[1], 'body', ARGV[2], 'fetched_at', ARGV[3], 'fresh_until', ARGV[4], 'code', ARGV[5])
if is_new then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""
# KEYS: count. ARGV: seconds it counts for.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""
_COUNTED_FOR = 60


@dataclass(frozen=True)
class Copy:
    """A document as it was fetched at `fetched_at`; its publisher says it is good until `fresh_until`."""

    body: str
    fetched_at: int
    fresh_until: int


@dataclass(frozen=True)
class Failure:
    """Why there is no usable document: it could not be had, or what came was refused for `reason`."""

    kind: Literal["unavailable", "refused"]
    reason: str


_FAILURE = Codec(Failure)


class DocumentStore:
    """Documents by name; a name is hashed before it is part of a key.

    A document lives `lifetime` seconds from its first fetch, and longer only if `keep_for` says so. Neither
    reading it nor fetching it again lengthens its life: anybody can cause that.
    """

    def __init__(self, redis: Redis, key: RecordKey, *, lifetime: int) -> None:
        self._redis = redis
        self._key = key
        self.lifetime = lifetime
        self._lengthen = redis.register_script(_LENGTHEN)
        self._keep = redis.register_script(_KEEP)
        self._count = redis.register_script(_COUNT)

    async def get(self, name: str) -> Copy | None:
        """The last good copy. Raises `StoreUnavailableError`, as every method here does."""
        async with guarded():
            key = keyspace.document(hash_secret(name))
            found = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(key))
        if not found:
            return None
        copy = Copy(found["body"], int(found["fetched_at"]), int(found["fresh_until"]))
        # A copy that this gateway did not write is none, and the document is fetched again.
        is_ours = hmac.compare_digest(found.get("code", ""), code_of_copy(self._key, key, copy))
        return copy if is_ours else None

    async def keep(self, name: str, copy: Copy) -> None:
        """Put `copy` in the place of the last one."""
        key = keyspace.document(hash_secret(name))
        record: list[str | int] = [
            copy.body,
            copy.fetched_at,
            copy.fresh_until,
            code_of_copy(self._key, key, copy),
        ]
        async with guarded():
            await self._keep([key], [self.lifetime, *record])

    async def keep_for(self, name: str, seconds: int) -> None:
        """Let the copy live at least `seconds` from now, because a grant does."""
        async with guarded():
            await self._lengthen([keyspace.document(hash_secret(name))], [seconds])

    async def exists(self, name: str) -> bool:
        """Whether there is a copy at this moment."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.document(hash_secret(name))))

    async def forget(self, name: str) -> None:
        """Drop the copy."""
        async with guarded():
            await self._redis.delete(keyspace.document(hash_secret(name)))

    async def note_failure(self, name: str, failure: Failure, seconds: int) -> None:
        """Remember for some seconds that there is no use in trying."""
        async with guarded():
            await self._redis.set(keyspace.document_failed(hash_secret(name)), _FAILURE.dump(failure), ex=seconds)

    async def failure(self, name: str) -> Failure | None:
        """What went wrong a moment ago."""
        async with guarded():
            text = await self._redis.get(keyspace.document_failed(hash_secret(name)))
        return None if text is None else _FAILURE.load(text)

    async def count_fetch(self, host: str) -> int:
        """Count a fetch from `host`; answers how many that makes in this minute."""
        async with guarded():
            return int(await self._count([keyspace.document_fetches(hash_secret(host))], [_COUNTED_FOR]))


def code_of_copy(key: RecordKey, place: str, copy: Copy) -> str:
    """The code that proves that this gateway wrote `copy` at `place`."""
    return key.code_of(place, f"{copy.fetched_at} {copy.fresh_until} {copy.body}")
