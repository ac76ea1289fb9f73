"""How long the record of a registered client is kept after a person has allowed the client.

A record is kept for `lifetime` seconds after the end of the client's last grant. Grants of siblings that the
client uses count too. A record that never expires, such as that of a machine client, does not change.

The record and the set of its grants are two keys, so another process can act between two steps. A grant is added
to the set before it extends the lifetime of the record. `update_expiry` reads the set again after it has shortened
the lifetime. So when a grant begins at the same moment, either `update_expiry` sees it in the set, or the grant
extends the lifetime afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: client. ARGV: seconds; 0 for ever. It only extends.
_LENGTHEN = """
local left = redis.call('TTL', KEYS[1])
if left < 0 then return left end
if ARGV[1] == '0' then return redis.call('PERSIST', KEYS[1]) end
if left < tonumber(ARGV[1]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return left
"""

# KEYS: client. ARGV: end of its last grant (seconds since the epoch, or 0), seconds to keep the record after that.
_SHORTEN = """
if redis.call('TTL', KEYS[1]) < 0 then return 0 end
local now = tonumber(redis.call('TIME')[1])
return redis.call('EXPIREAT', KEYS[1], math.max(now, tonumber(ARGV[1])) + tonumber(ARGV[2]))
"""

# KEYS: the grants of a client. ARGV: a grant that has ended, or ''. Returns when the last of the others ends.
_LAST_END = """
redis.call('ZREM', KEYS[1], ARGV[1])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
return last[2] or '0'
"""


class ClientLifetimes:
    """Sets lifetimes. `lifetime`: seconds to keep a record after the client's last grant; 0 for ever."""

    def __init__(self, redis: Redis) -> None:
        self._lengthen = redis.register_script(_LENGTHEN)
        self._shorten = redis.register_script(_SHORTEN)
        self._last_end = redis.register_script(_LAST_END)

    async def keep_for(self, client_id: str, seconds: int, *, lifetime: int) -> None:
        """Keep the record longer than a grant that ends in `seconds`. Raises `StoreUnavailableError`."""
        lengthened = 0 if lifetime == 0 else seconds + lifetime
        async with guarded():
            await self._lengthen([keyspace.client(client_id)], [lengthened])

    async def update_expiry(self, client_id: str, *, lifetime: int, ended: str = "") -> None:
        """Let the record end with the last grant that the client has or uses; `ended` no longer counts."""
        if lifetime == 0:
            return
        last_end, known = await self._ends_at(client_id, ended), -1
        while last_end > known:
            async with guarded():
                await self._shorten([keyspace.client(client_id)], [last_end, lifetime])
            last_end, known = await self._ends_at(client_id, ""), last_end

    async def _ends_at(self, client_id: str, ended: str) -> int:
        # Two steps: in a cluster the two sets are on different nodes.
        sets = (keyspace.client_grants(client_id), keyspace.sibling_grants(client_id))
        async with guarded():
            return max([int(await self._last_end([grants], [ended])) for grants in sets])
