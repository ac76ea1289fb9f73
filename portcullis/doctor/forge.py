"""Makes an expired token with the gateway's own keys, to show that the gateway refuses it.

The token is signed with the real key and is active in Redis, so that its expiry alone decides.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import new_identifier
from oauth_core.model import AccessClaims
from oauth_core.store import keyspace
from oauth_core.store.connection import connect, guarded
from oauth_core.store.records.key_ring import KeyRingStore
from oauth_core.tokens.access_tokens import mint

if TYPE_CHECKING:
    from oauth_core.settings import WebSettings

_BRIEFLY = 60


class Forger:
    """Makes tokens with the gateway's settings, Redis and keys. Close it after use."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings
        self._redis = connect(settings)

    async def expired_token(self, issuer: str, resource: str, scope: str) -> str:
        """A token for `resource` that expired a minute ago and is otherwise valid."""
        now = int(time.time())
        claims = AccessClaims(
            iss=issuer,
            sub="0",
            aud=(resource,),
            exp=now - _BRIEFLY,
            iat=now - 2 * _BRIEFLY,
            jti=new_identifier(),
            client_id="portcullis-doctor",
            scope=scope,
            github_user="portcullis-doctor",
            github_id=0,
        )
        ring = await KeyRingStore(self._redis, master_key=self.settings.master_key_bytes).open(
            self.settings.signing_algorithm, now=now
        )
        async with guarded():
            await self._redis.set(keyspace.token(claims.jti), "portcullis-doctor", ex=_BRIEFLY)
        return mint(claims, ring.signing_key(now))

    async def aclose(self) -> None:
        """Close the connection to Redis."""
        await self._redis.aclose()
