"""Permits of the limits on calls, for all check processes together: batches, so that few calls ask Redis.

Each key has the state of one limit for one subject, by the arithmetic of `oauth_core.limits.allowances` and with
the clock of Redis. All keys of one person have one hash tag, so the permits for one call are one atomic step in
a cluster too. A key expires when its state says nothing any more: when the bucket is full, or at the end of the
day.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import StoreUnavailableError
from oauth_core.limits.accounts import Given
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

    from oauth_core.limits.accounts import Unused
    from oauth_core.limits.call_limits import Charge
    from oauth_core.store.topology.topology import RedisTopology

LIMITS_ACL = f"(~{keyspace.CALL_PERMITS} +get +set +del +time +evalsha +script|load)"
"""An additional rule for the check service's Redis user: the right to count calls, at these keys alone.

It is a selector (Redis 7.0): its commands apply to its keys only, in scripts too, so that the user can still
write no other key. Without it each check process counts alone.
"""

# KEYS: states. ARGV for each: microseconds after which a permit comes back (0: a quota of a day), permits of the
# whole allowance, permits needed now, permits asked for. Returns a `Given` for each. More than needed is given
# only out of a quarter of what is left, so that no process holds much when little is left.
_LEASE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local length = 86400000000
local day = math.floor(now / length)
local answer = {}
for i, key in ipairs(KEYS) do
  local at = (i - 1) * 4
  local each, count = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local needed, asked = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local text = redis.call('GET', key) or ''
  local free, full, taken, is_written = 0, 0, 0, asked == 0
  if each > 0 then
    local stored = tonumber(text) or 0
    full = math.min(math.max(stored, now), now + each * count)
    is_written = is_written or stored > full
    free = math.floor((each * count - (full - now)) / each)
  else
    local of, used = string.match(text, '^(%d+):(%d+)$')
    if tonumber(of) == day then taken = tonumber(used) end
    free = count - taken
  end
  free = math.max(free, 0)
  local ahead = math.floor(math.max(free - needed, 0) / 4)
  local given = math.min(free, needed + math.min(math.max(asked - needed, 0), ahead))
  local wait, ends = 0, 0
  if each > 0 then
    full = full + given * each
    if given > 0 or is_written then
      redis.call('SET', key, string.format('%.0f', full), 'PX', math.max(math.ceil((full - now) / 1000), 1))
    end
    if given == free then wait = math.max(full + each - each * count - now, 0) end
  else
    local left = (day + 1) * length - now
    if given > 0 or is_written then
      redis.call('SET', key, string.format('%.0f:%.0f', day, taken + given), 'PX', math.ceil(left / 1000))
    end
    if given == free then wait = left end
    ends = left
  end
  answer[#answer + 1] = given
  answer[#answer + 1] = wait
  answer[#answer + 1] = ends
  answer[#answer + 1] = day
end
return answer
"""

# KEYS: the state. ARGV: as above the first, permits that come back, the day on which they were given.
_RETURN = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local each, back, day = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local text = redis.call('GET', KEYS[1])
if not text then return 0 end
if each > 0 then
  local full = (tonumber(text) or 0) - back * each
  if full > now then
    redis.call('SET', KEYS[1], string.format('%.0f', full), 'PX', math.ceil((full - now) / 1000))
  else
    redis.call('DEL', KEYS[1])
  end
else
  local of, used = string.match(text, '^(%d+):(%d+)$')
  if tonumber(of) ~= day or day ~= math.floor(now / 86400000000) then return 0 end
  local left = (day + 1) * 86400000000 - now
  used = math.max(tonumber(used) - back, 0)
  redis.call('SET', KEYS[1], string.format('%.0f:%.0f', day, used), 'PX', math.ceil(left / 1000))
end
return back
"""


class Demand(NamedTuple):
    """The need for one charge: permits now, and permits asked for, those included."""

    charge: Charge
    needed: int
    asked: int


_VALUES = len(Given._fields)


class CallPermitStore:
    """Gets permits from the server that counts, and gives unused ones back."""

    def __init__(self, topology: RedisTopology, *, timeout: float, clock: Callable[[], float]) -> None:
        """`timeout` is the longest wait of a caller, in seconds; `clock` is that of the topology."""
        self._topology = topology
        self._timeout = timeout
        self._clock = clock
        self._scripts: dict[Redis, tuple[AsyncScript, AsyncScript]] = {}

    async def lease(self, demands: Sequence[Demand]) -> list[Given]:
        """Return the permits for `demands`, all of one person. Raises `StoreUnavailableError`."""
        keys = [_key(demand.charge) for demand in demands]
        arguments: list[int] = []
        for charge, needed, asked in demands:
            allowance = charge.limit.allowance
            arguments += (allowance.each, allowance.count, needed, asked)
        async with guarded(), asyncio.timeout(self._timeout):
            flat = [int(value) for value in await self._scripts_for(keys[0])[0](keys, arguments)]
        return [Given(*flat[at : at + _VALUES]) for at in range(0, len(flat), _VALUES)]

    async def give_back(self, charge: Charge, unused: Unused) -> None:
        """Give permits back. Raises `StoreUnavailableError`: then the allowance is that much smaller for a
        while.
        """
        key = _key(charge)
        async with guarded(), asyncio.timeout(self._timeout):
            await self._scripts_for(key)[1]([key], [charge.limit.allowance.each, unused.permits, unused.day])

    def _scripts_for(self, key: str) -> tuple[AsyncScript, AsyncScript]:
        address, until = self._topology.owner(key)
        if address is None or self._clock() >= until:
            raise StoreUnavailableError("it is not certain which Redis server counts")
        redis = self._topology.client(address)
        scripts = self._scripts.get(redis)
        if scripts is None:
            if len(self._scripts) >= _MOST_SERVERS:
                self._scripts.clear()
            scripts = self._scripts[redis] = (redis.register_script(_LEASE), redis.register_script(_RETURN))
        return scripts


_MOST_SERVERS = 64


def _key(charge: Charge) -> str:
    limit, person, subject = charge
    return keyspace.call_permits(hash_secret(person), hash_secret(f"{limit.name}\n{subject}"))
