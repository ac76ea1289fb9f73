"""Token status: an access token is active if `token:<jti>` exists in Redis, else it is revoked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded
from oauth_core.store.records.call_permits import LIMITS_ACL

if TYPE_CHECKING:
    from redis.asyncio import Redis

CHECK_ACL = (
    "resetkeys",
    f"~{keyspace.token('*')}",
    f"~{keyspace.JWKS}",
    f"~{keyspace.JWKS}-copy:*",
    f"~{keyspace.PLAIN_JWKS}",
    f"~{keyspace.DISABLED_SERVICES}",
    f"~{keyspace.DISABLED_SERVICES}-copy:*",
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
    LIMITS_ACL,
)
"""The rights of the check service's own Redis user, as rules for `ACL SETUSER` or a `user` line of redis.conf.

It can ask whether a token is active, and read the public keys and the disabled services. It can neither write
these nor read a grant, a client or the key ring. It can count calls for limits (`LIMITS_ACL`), at keys of their
own. It may ask for invalidations of keys that it read (`CLIENT TRACKING`), on its own connection, so it needs no
channel. With Sentinels it asks a server whether it is the primary (`ROLE`). In a cluster it asks for the owners
of the slots (`CLUSTER SLOTS`) and, while a slot moves, for the key at its next node (`ASKING`). Add `on` and a
password.
"""


class RedisTokenStatus:
    """Asks Redis for each status, within a deadline."""

    def __init__(self, redis: Redis, *, timeout: float) -> None:
        """`timeout` is the longest wait of a caller, in seconds, connecting and retrying included."""
        self._redis = redis
        self._timeout = timeout

    def cached_status(self, jti: str) -> None:
        """Return `None`: no status is known without asking Redis."""

    async def token_status(self, jti: str) -> TokenStatus:
        """Ask Redis for the status of the token `jti`. Never raises for a failure of Redis: it is then UNKNOWN."""
        try:
            async with guarded(), asyncio.timeout(self._timeout):
                count = await self._redis.exists(keyspace.token(jti))
        except StoreUnavailableError:
            return TokenStatus.UNKNOWN
        return TokenStatus.ACTIVE if count else TokenStatus.REVOKED
