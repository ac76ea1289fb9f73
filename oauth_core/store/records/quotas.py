"""Quotas on the bytes that unauthenticated callers cause in Redis, so that more are refused before Redis is full.

A record is added to a total, in a field whose name is the time at which the record expires. The field leaves the
total at that time. So the totals need no clean-up, cannot drift, and are right again one lifetime after a restore
or a lost key. A record that is used up or deleted early counts until it would have expired, which errs on the safe
side.

The total of all callers and that of one caller have one hash tag, so counting is one atomic step in a cluster too.
The totals do not show which server of a cluster holds the records: `oauth_core.store.memory` reads the fullest.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import StoreUnavailableError
from oauth_core.limits import quotas
from oauth_core.limits.quotas import Stored
from oauth_core.store import clock, keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from redis.asyncio import Redis

    from oauth_core.store.memory import MemoryReader

_OVERHEAD = 250
"""Bytes that Redis needs for a key beside its name and its value."""
_STEP = 60
"""Seconds between two times at which bytes leave a total."""
_RETRY = 60
"""The `Retry-After` in seconds when Redis itself is nearly full."""
_GUARDED = {
    Stored.REGISTRATIONS: 1.0,
    Stored.CLIENT_DOCUMENTS: 1.0,
    Stored.SIGN_INS: 0.5,
    Stored.DEVICE_CODES: 0.5,
}
"""The part of the reserve that must be free. Signing in works longer than registering. The assertion of a client
is never refused: the client needs it to refresh.
"""

# KEYS: the total of all, the total of one caller. ARGV: bytes, seconds that they are kept, bytes for all,
# FOR_A_NEWCOMER, SHARE, step. Returns 'room', 'greedy' or 'full', and the seconds until bytes leave a total.
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
local function total(key)
  local sum, first, fields = 0, 0, redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local ends = tonumber(fields[i])
    if ends <= now then
      redis.call('HDEL', key, fields[i])
    else
      sum = sum + tonumber(fields[i + 1])
      if first == 0 or ends < first then first = ends end
    end
  end
  return sum, first
end
local size, lifetime, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local all, first_of_all = total(KEYS[1])
local own, first_of_own = total(KEYS[2])
if all + size > most then return {'full', math.max(first_of_all - now, 1)} end
if own + size > tonumber(ARGV[4]) and own + size > (most / 2 - all) / tonumber(ARGV[5]) then
  return {'greedy', math.max(first_of_own - now, 1)}
end
local step = tonumber(ARGV[6])
local ends = string.format('%.0f', (math.floor((now + lifetime) / step) + 1) * step)
for i = 1, 2 do
  redis.call('HINCRBY', KEYS[i], ends, size)
  if redis.call('TTL', KEYS[i]) < tonumber(ends) - now then redis.call('EXPIREAT', KEYS[i], ends) end
end
return {'room', 0}
"""


class QuotaStore:
    """Counts bytes. `bytes_of` has the most bytes of each kind; `reserve` is the part of Redis memory kept free.

    `refused` is called for each refusal. `refusals` counts those of this process.
    """

    def __init__(
        self,
        redis: Redis,
        memory: MemoryReader,
        *,
        bytes_of: Mapping[Stored, int],
        reserve: float,
        refused: Callable[[Stored], None],
    ) -> None:
        self._redis = redis
        self._memory = memory
        self._bytes_of = bytes_of
        self._reserve = reserve
        self._on_refusal = refused
        self.refusals = Counter(dict.fromkeys(Stored, 0))
        self._take = redis.register_script(_TAKE)

    async def take(self, kind: Stored, size: int, *, lifetime: int, caller: str) -> None:
        """Count a record of `size` bytes that is kept for `lifetime` seconds and that `caller` causes.

        Raises `NoRoomError` when the quota is used up: 429 when `caller` has used up its share, else 503. If the
        totals cannot be read, the record is not counted. Otherwise one unreachable server of a cluster would stop
        every sign-in; if Redis is unreachable altogether, the record cannot be written anyway.
        """
        with suppress(StoreUnavailableError):
            await self._check_memory(kind)
            await self._count(kind, size + _OVERHEAD, lifetime, caller)

    async def _check_memory(self, kind: Stored) -> None:
        needed = self._reserve * _GUARDED.get(kind, 0)
        if needed and (await self._memory.read()).free_share < needed:
            self._report_refusal(kind)
            raise quotas.all_used(_RETRY)

    async def _count(self, kind: Stored, size: int, lifetime: int, caller: str) -> None:
        keys = [keyspace.stored(kind), keyspace.stored_by(kind, hash_secret(caller))]
        most = self._bytes_of[kind]
        async with guarded():
            outcome, wait = await self._take(
                keys, [size, max(lifetime, 1), most, quotas.FOR_A_NEWCOMER, quotas.SHARE, _STEP]
            )
        if outcome != "room":
            self._report_refusal(kind)
            raise quotas.own_share_used(wait) if outcome == "greedy" else quotas.all_used(wait)

    def _report_refusal(self, kind: Stored) -> None:
        self.refusals[kind] += 1
        self._on_refusal(kind)

    async def totals(self) -> dict[Stored, int]:
        """Return the bytes of each kind. Raises `StoreUnavailableError`."""
        now, found = await clock.seconds(self._redis), {}
        async with guarded():
            for kind in Stored:
                total = self._redis.hgetall(keyspace.stored(kind))
                fields = await cast("Awaitable[dict[str, str]]", total)
                found[kind] = sum(int(size) for ends, size in fields.items() if int(ends) > now)
        return found
