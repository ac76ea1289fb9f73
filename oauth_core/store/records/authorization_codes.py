"""Authorization codes. One atomic step redeems a code and returns the outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, cast

from oauth_core.crypto.credentials import hash_secret, new_secret
from oauth_core.model import AuthorizationCode
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey

_CODE = SignedCodec(AuthorizationCode)

_ADD = """
redis.call('HSET', KEYS[1], 'record', ARGV[1])
return redis.call('EXPIRE', KEYS[1], ARGV[2])
"""

# A used code stays as a tombstone, so that a replay is not mistaken for an unknown code. The replay is recorded in
# the same step: the first caller may not have created its grant yet, and checks this record after it has.
_CONSUME = """
if redis.call('EXISTS', KEYS[1]) == 0 then return 'gone' end
if redis.call('HSETNX', KEYS[1], 'used', '1') == 0 then
  redis.call('HSET', KEYS[1], 'replayed', '1')
  return 'used'
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 'consumed'
"""


class Consumption(Enum):
    """The outcome of an attempt to redeem a code."""

    CONSUMED = "consumed"
    ALREADY_USED = "used"
    GONE = "gone"


@dataclass(frozen=True)
class FoundCode:
    """The authorization that belongs to a code, and the hash by which to consume the code."""

    code_hash: str
    code: AuthorizationCode


class AuthorizationCodeStore:
    """Stores codes under their hash, so that reading Redis does not yield a code that can be redeemed."""

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key
        self._add = redis.register_script(_ADD)
        self._consume = redis.register_script(_CONSUME)

    async def add(self, code: AuthorizationCode) -> str:
        """Store `code` for a minute and return the string that the client redeems."""
        text = new_secret()
        redis_key = keyspace.code(hash_secret(text))
        async with guarded():
            await self._add([redis_key], [_CODE.dump(code, self._key, redis_key), keyspace.CODE_LIFETIME])
        return text

    async def find(self, text: str) -> FoundCode | None:
        """Return the authorization that belongs to `text`, used or not, without using the code up."""
        code_hash = hash_secret(text)
        redis_key = keyspace.code(code_hash)
        async with guarded():
            record = await cast("Awaitable[str | None]", self._redis.hget(redis_key, "record"))
        code = _CODE.load(record, self._key, redis_key)
        return None if code is None else FoundCode(code_hash, code)

    async def consume(self, found: FoundCode) -> Consumption:
        """Use the code up: one of any number of callers gets `CONSUMED`. Every later call records a replay."""
        async with guarded():
            outcome = await self._consume([keyspace.code(found.code_hash)], [keyspace.USED_CODE_LIFETIME])
        return Consumption(outcome)

    async def was_replayed(self, found: FoundCode) -> bool:
        """Return whether a consumed code was presented again. A lost tombstone counts as a replay.

        The caller that consumed the code calls this after its grant exists. So either this returns True, or the
        replay comes later, finds the grant and ends it.
        """
        async with guarded():
            fields = self._redis.hmget(keyspace.code(found.code_hash), ["used", "replayed"])
            used, replayed = await cast("Awaitable[list[str | None]]", fields)
        return used is None or replayed is not None
