"""The copy of the key ring in this process, kept current: a rotation reaches it within two seconds.

It also writes the parts of the key ring that Redis has lost again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from oauth_core.errors import StoreUnavailableError
from oauth_core.jose.key_ring import FOLLOWED_WITHIN
from oauth_core.store.maintenance.schema import SchemaError
from oauth_core.store.records.key_ring import KeyRingError

if TYPE_CHECKING:
    from oauth_core.jose.key_ring import KeyRing
    from oauth_core.jose.signing_keys import SigningKey, VerifyingKeys
    from oauth_core.store.maintenance.schema import SchemaStore
    from oauth_core.store.records.disabled_services import DisabledServiceStore
    from oauth_core.store.records.key_ring import KeyRingStore
    from oauth_core.store.records.sign_in_pause import SignInPauseStore

_log = structlog.get_logger("keys")


@dataclass(frozen=True)
class MaintainedStores:
    """The stores that are maintained together with the key ring."""

    pauses: SignInPauseStore
    schema: SchemaStore
    disabled_services: DisabledServiceStore


class FollowedKeyRing:
    """The keys with which endpoints sign and verify."""

    def __init__(self, store: KeyRingStore, ring: KeyRing, maintained: MaintainedStores) -> None:
        self._store = store
        self._maintained = maintained
        self._ring = ring
        self._following: asyncio.Task[None] | None = None

    @property
    def verifying(self) -> VerifyingKeys:
        """The public keys, to verify our own tokens with."""
        return self._ring.verifying

    @property
    def jwks(self) -> str:
        """The public keys, to publish."""
        return self._ring.jwks

    def signing_key(self, now: int) -> SigningKey:
        """The key that signs at second `now`."""
        return self._ring.signing_key(now)

    async def start(self) -> None:
        """Start to follow the key ring."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Stop following the key ring."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])

    async def are_published(self) -> bool:
        """Whether check services can read the public keys. Raises `StoreUnavailableError`."""
        return await self._store.is_published()

    async def _follow(self) -> None:
        """Read the ring at intervals. When that fails, the last one stays in use."""
        failing = False
        while True:
            await asyncio.sleep(FOLLOWED_WITHIN)
            try:
                ring = await self._look()
            except Exception as error:  # noqa: BLE001 - a record in Redis can be broken in many ways
                # If this task ended, a leaked key could not be retired in this process any more.
                if not failing:
                    is_explained = isinstance(error, StoreUnavailableError | KeyRingError | SchemaError)
                    reason = str(error) if is_explained else type(error).__name__
                    _log.warning("key ring unreadable, keeping the last one", error=reason)
                failing = True
                continue
            if ring is not self._ring:
                _log.info("key ring changed", keys=[key.kid for key in ring.keys])
            failing, self._ring = False, ring

    async def _look(self) -> KeyRing:
        """The present ring. If Redis lost it, this writes it again: without keys no request could be answered.

        It does not do so while a backup is being restored, which contains its own ring.
        """
        if await self._maintained.pauses.reason() is not None:
            return await self._store.read()
        if not await self._store.exists():
            await self._maintained.schema.version()  # writes the version into an empty Redis
            if await self._store.restore_if_missing(self._ring):
                _log.warning("Redis had lost the key ring; it is kept again")
        ring = await self._store.read()
        if await self._store.publish_again(ring):
            _log.warning("published keys were missing; they are published again")
        await self._maintained.disabled_services.fill_missing_copies()
        return ring
