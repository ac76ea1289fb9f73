"""Authorization codes. Redeeming one is a single atomic step that says what happened."""

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

# A used code stays as a tombstone, so that a replay is not taken for an unknown code. The replay is recorded in
# the same step: the first caller may not have created its grant yet, and looks here once it has.
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
    """What happened to a code that somebody tried to use up."""

    CONSUMED = "consumed"
    ALREADY_USED = "used"
    GONE = "gone"


@dataclass(frozen=True)
class FoundCode:
    """What a code stands for, and the key to consume it by."""

    code_hash: str
    code: AuthorizationCode


class AuthorizationCodeStore:
    """Codes are kept by their hash: reading Redis gives nobody a code to redeem."""

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key
        self._add = redis.register_script(_ADD)
        self._consume = redis.register_script(_CONSUME)

    async def add(self, code: AuthorizationCode) -> str:
        """Keep `code` for a minute and answer the string the client redeems."""
        text = new_secret()
        place = keyspace.code(hash_secret(text))
        async with guarded():
            await self._add([place], [_CODE.dump(code, self._key, place), keyspace.CODE_LIFETIME])
        return text

    async def find(self, text: str) -> FoundCode | None:
        """What `text` stands for, used or not, without using it up."""
        code_hash = hash_secret(text)
        place = keyspace.code(code_hash)
        async with guarded():
            record = await cast("Awaitable[str | None]", self._redis.hget(place, "record"))
        code = _CODE.load(record, self._key, place)
        return None if code is None else FoundCode(code_hash, code)

    async def consume(self, found: FoundCode) -> Consumption:
        """Use the code up: of any number of callers, one gets `CONSUMED`. Every later call records a replay."""
        async with guarded():
            outcome = await self._consume([keyspace.code(found.code_hash)], [keyspace.USED_CODE_LIFETIME])
        return Consumption(outcome)

    async def was_replayed(self, found: FoundCode) -> bool:
        """Whether a consumed code was presented again. A lost tombstone counts as a replay.

        The caller that consumed the code asks after its grant exists. So either this answers True, or the replay
        comes later and finds the grant to end.
        """
        async with guarded():
            fields = self._redis.hmget(keyspace.code(found.code_hash), ["used", "replayed"])
            used, replayed = await cast("Awaitable[list[str | None]]", fields)
        return used is None or replayed is not None
