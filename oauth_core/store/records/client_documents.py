"""Documents that clients publish, as last fetched: the last valid copy, the last failure, and fetches per host.

All processes share them, so that more replicas do not cause more fetches.
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

# This step never shortens a lifetime: a grant may have asked for a longer one. KEYS: document. ARGV: seconds.
_LENGTHEN = """
local left = redis.call('TTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return left
"""
# KEYS: document. ARGV: the lifetime of a new one, body, fetched_at, fresh_until, code of these three.
_STORE = """
local is_new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('HSET', KEYS[1], 'body', ARGV[2], 'fetched_at', ARGV[3], 'fresh_until', ARGV[4], 'code', ARGV[5])
if is_new then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return 1
"""
# KEYS: count. ARGV: seconds for which the count lasts.
_COUNT = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
"""
_COUNTED_FOR = 60


@dataclass(frozen=True)
class Copy:
    """A document as fetched at `fetched_at`; by its publisher's headers it is fresh until `fresh_until`."""

    body: str
    fetched_at: int
    fresh_until: int


@dataclass(frozen=True)
class Failure:
    """The reason why no document can be used: the fetch failed, or the document was refused for `reason`."""

    kind: Literal["unavailable", "refused"]
    reason: str


_FAILURE = Codec(Failure)


class DocumentStore:
    """Stores documents by name; a key contains the hash of the name.

    A document is kept for `lifetime` seconds from its first fetch, and longer only after `keep_for`. Reading it or
    fetching it again does not extend its lifetime, because any caller can cause that.
    """

    def __init__(self, redis: Redis, key: RecordKey, *, lifetime: int) -> None:
        self._redis = redis
        self._key = key
        self.lifetime = lifetime
        self._lengthen = redis.register_script(_LENGTHEN)
        self._store = redis.register_script(_STORE)
        self._count = redis.register_script(_COUNT)

    async def get(self, name: str) -> Copy | None:
        """Return the last valid copy. Raises `StoreUnavailableError`, as every method here does."""
        async with guarded():
            key = keyspace.document(hash_secret(name))
            found = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(key))
        if not found:
            return None
        copy = Copy(found["body"], int(found["fetched_at"]), int(found["fresh_until"]))
        # A copy that this gateway did not write does not count, and the document is fetched again.
        is_ours = hmac.compare_digest(found.get("code", ""), code_of_copy(self._key, key, copy))
        return copy if is_ours else None

    async def store(self, name: str, copy: Copy) -> None:
        """Replace the last copy by `copy`."""
        key = keyspace.document(hash_secret(name))
        record: list[str | int] = [
            copy.body,
            copy.fetched_at,
            copy.fresh_until,
            code_of_copy(self._key, key, copy),
        ]
        async with guarded():
            await self._store([key], [self.lifetime, *record])

    async def keep_for(self, name: str, seconds: int) -> None:
        """Keep the copy for at least `seconds` from now, the lifetime of a grant."""
        async with guarded():
            await self._lengthen([keyspace.document(hash_secret(name))], [seconds])

    async def exists(self, name: str) -> bool:
        """Return whether a copy exists now."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.document(hash_secret(name))))

    async def forget(self, name: str) -> None:
        """Delete the copy."""
        async with guarded():
            await self._redis.delete(keyspace.document(hash_secret(name)))

    async def record_failure(self, name: str, failure: Failure, seconds: int) -> None:
        """Record for `seconds` that a fetch failed, so that it is not repeated."""
        async with guarded():
            await self._redis.set(keyspace.document_failed(hash_secret(name)), _FAILURE.dump(failure), ex=seconds)

    async def failure(self, name: str) -> Failure | None:
        """Return the failure that is still recorded."""
        async with guarded():
            text = await self._redis.get(keyspace.document_failed(hash_secret(name)))
        return None if text is None else _FAILURE.load(text)

    async def count_fetch(self, host: str) -> int:
        """Count a fetch from `host`; returns the number of fetches in this minute."""
        async with guarded():
            return int(await self._count([keyspace.document_fetches(hash_secret(host))], [_COUNTED_FOR]))


def code_of_copy(key: RecordKey, redis_key: str, copy: Copy) -> str:
    """Return the authentication code which proves that this gateway wrote `copy` at `redis_key`."""
    return key.code_of(redis_key, f"{copy.fetched_at} {copy.fresh_until} {copy.body}")
