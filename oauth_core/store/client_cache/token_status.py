"""Whether an access token is still alive: `token:<jti>` exists in Redis, or the token is dead."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

CHECK_ACL = (
    "resetkeys",
    f"~{keyspace.token('*')}",
    f"~{keyspace.JWKS}",
    f"~{keyspace.JWKS}-copy:*",
    f"~{keyspace.PLAIN_JWKS}",
    f"~{keyspace.ISOLATED_SERVICES}",
    f"~{keyspace.ISOLATED_SERVICES}-copy:*",
    "resetchannels",
    "nocommands",
    "+exists",
    "+pttl",
    "+get",
    "+ping",
    "+select",
    "+role",
    "+cluster|slots",
    "+asking",
    "+client|tracking",
)
"""What the check service's own Redis user may do, as rules for `ACL SETUSER` or a `user` line of redis.conf.

It can ask whether a token lives and read the public keys and which services are isolated; it can neither write nor
see a grant, a client or the key ring. It may ask to be told of changes to what it read (`CLIENT TRACKING`), on its
own connection, so it needs no channel. With Sentinels it asks a server whether it is the primary (`ROLE`), in a
cluster who owns which slots (`CLUSTER SLOTS`) and, while a slot moves, for the key at its next place (`ASKING`).
Add `on` and a password. Works from Redis 6.2 on, which lacks read-only key patterns: that nothing can be written
follows from the commands.
"""


class RedisTokenStatus:
    """Asks Redis, each time, within a deadline."""

    def __init__(self, redis: Redis, *, timeout: float) -> None:
        """`timeout` is the longest a caller waits, in seconds, connecting and retrying included."""
        self._redis = redis
        self._timeout = timeout

    def known(self, jti: str) -> None:
        """What may be said without asking: nothing."""

    async def of(self, jti: str) -> TokenStatus:
        """What Redis says about the token `jti`. Never raises for what Redis does: no answer is UNKNOWN."""
        try:
            async with guarded(), asyncio.timeout(self._timeout):
                count = await self._redis.exists(keyspace.token(jti))
        except StoreUnavailableError:
            return TokenStatus.UNKNOWN
        return TokenStatus.ACTIVE if count else TokenStatus.REVOKED
