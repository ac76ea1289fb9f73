"""The key ring as this process knows it, followed while it runs: a rotation reaches it within two seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from oauth_core.errors import StoreUnavailableError
from oauth_core.key_ring import FOLLOWED_WITHIN
from oauth_core.store.keyring import KeyRingError

if TYPE_CHECKING:
    from oauth_core.key_ring import KeyRing
    from oauth_core.keys import SigningKey, VerifyingKeys
    from oauth_core.store.keyring import KeyRingStore

_log = structlog.get_logger("keys")


class Keys:
    """What endpoints sign and check with."""

    def __init__(self, store: KeyRingStore, ring: KeyRing) -> None:
        self._store = store
        self._ring = ring
        self._following: asyncio.Task[None] | None = None

    @property
    def verifying(self) -> VerifyingKeys:
        """The public keys, to check our own tokens with."""
        return self._ring.verifying

    @property
    def jwks(self) -> str:
        """The public keys, to publish."""
        return self._ring.jwks

    def signing_key(self, now: int) -> SigningKey:
        """The key that signs at second `now`."""
        return self._ring.signing_key(now)

    async def start(self) -> None:
        """Begin to follow the ring."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Follow it no longer."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def _follow(self) -> None:
        """Read the ring again and again. When that fails, the last one stays in use."""
        failing = False
        while True:
            await asyncio.sleep(FOLLOWED_WITHIN)
            try:
                ring = await self._store.read()
            except (StoreUnavailableError, KeyRingError) as error:
                if not failing:
                    _log.warning("key ring unreadable, keeping the last one", error=str(error))
                failing = True
                continue
            if ring is not self._ring:
                _log.info("key ring changed", keys=[key.kid for key in ring.keys])
            failing, self._ring = False, ring
