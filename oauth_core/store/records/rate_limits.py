"""Rate limits across all replicas: one Redis key for each subject of a limit, one atomic step for each request.

The key holds the time at which all admitted requests will have been worked off at the rate of the limit (the
"generic cell rate algorithm"). So twice the limit cannot pass at the edge of a window, the wait is known exactly,
and the key expires by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.limits.rate_limits import Limit, Rate

# KEYS: subject. ARGV: microseconds that one takes, how many may come at once, 1 to count and 0 to look only, and
# how many are asked for. Returns the seconds to wait, 0 for none. The clock is that of Redis, because the clocks
# of replicas may differ.
_TAKE = """
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local each, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local asked = each * tonumber(ARGV[4])
local done = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = done + asked - burst * each - now
if wait > 0 then return math.ceil(wait / 1000000) end
if ARGV[3] == '1' then
  redis.call('SET', KEYS[1], string.format('%.0f', done + asked), 'PX', math.ceil((done + asked - now) / 1000))
end
return 0
"""


class RateLimitStore:
    """Counts requests. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._take = redis.register_script(_TAKE)

    async def take(self, limit: Limit, rate: Rate, subject: str, *, cost: int = 1) -> int:
        """Count `cost` for `subject`. Returns 0, or the seconds until enough is left."""
        return await self._ask(limit, rate, subject, count=True, cost=cost)

    async def wait_of(self, limit: Limit, rate: Rate, subject: str) -> int:
        """Return the same as `take`, without counting."""
        return await self._ask(limit, rate, subject, count=False)

    async def _ask(self, limit: Limit, rate: Rate, subject: str, *, count: bool, cost: int = 1) -> int:
        key = keyspace.rate(limit, hash_secret(subject))
        each = rate.seconds * 1_000_000 // rate.count
        async with guarded():
            return int(await self._take([key], [max(each, 1), rate.count, int(count), cost]))
