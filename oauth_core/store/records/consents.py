"""Remembered consents: one Redis hash for each person, one field for each client."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from oauth_core.flows.consent import RememberedConsent
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec, location_in_hash
from oauth_core.store.connection import guarded
from oauth_core.store.records import revocation_cutoffs, tombstones
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey

_CONSENT = SignedCodec(RememberedConsent)

# KEYS: a person's consents. ARGV: field, record, its lifetime. A shorter lifetime does not shorten that of others.
_STORE = """
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local left = redis.call('TTL', KEYS[1])
if left < tonumber(ARGV[3]) then redis.call('EXPIRE', KEYS[1], ARGV[3]) end
return 1
"""


class ConsentStore:
    """Stores consents. Every method raises `StoreUnavailableError`.

    `oauth_core.flows.consent` decides whether a consent still counts.
    """

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key
        self._store = redis.register_script(_STORE)

    async def get(self, github_id: int, client_id: str) -> RememberedConsent | None:
        """Return the rights that a person allowed a client."""
        redis_key, field = keyspace.consents(github_id), keyspace.consent_field(client_id)
        async with guarded():
            text = await cast("Awaitable[str | None]", self._redis.hget(redis_key, field))
        consent = _CONSENT.load(text, self._key, location_in_hash(redis_key, field))
        return None if consent is None or await self._is_revoked(github_id, consent) else consent

    async def store(self, github_id: int, consent: RememberedConsent) -> None:
        """Replace the earlier consent for that client by `consent`."""
        lifetime = consent.expires_at - consent.given_at
        redis_key, field = keyspace.consents(github_id), keyspace.consent_field(consent.client_id)
        record = _CONSENT.dump(consent, self._key, location_in_hash(redis_key, field))
        async with guarded():
            await self._store([redis_key], [field, record, lifetime])
        # A revocation at the same moment may have searched before this consent was stored.
        if await self._is_revoked(github_id, consent):
            await self.forget(github_id, consent.client_id)

    async def _is_revoked(self, github_id: int, consent: RememberedConsent) -> bool:
        """Also returns True for a revoked consent that a restored backup brought back."""
        return await revocation_cutoffs.is_cut_off(
            self._redis, at=consent.given_at, github_id=github_id, client_id=consent.client_id
        )

    async def all(self, github_id: int, *, now: int) -> tuple[RememberedConsent, ...]:
        """Return every consent of a person, latest first."""
        redis_key = keyspace.consents(github_id)
        async with guarded():
            texts = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(redis_key))
        found = [
            _CONSENT.load(text, self._key, location_in_hash(redis_key, field)) for field, text in texts.items()
        ]
        consents = [consent for consent in found if consent and now < consent.expires_at]
        return tuple(sorted(consents, key=lambda consent: consent.given_at, reverse=True))

    async def forget(self, github_id: int, client_id: str) -> bool:
        """Delete the consent for a client, so that the person is asked again. Returns whether there was one.

        If it raises, another call completes the work.
        """
        async with guarded():
            found = bool(await self._redis.hdel(keyspace.consents(github_id), keyspace.consent_field(client_id)))
        await self._write_tombstone(github_id)
        return found

    async def forget_all(self, github_id: int) -> bool:
        """Delete all consents of a person, so that the person is asked again. Returns whether there were any."""
        found = await forget_person(self._redis, github_id)
        await self._write_tombstone(github_id)
        return found

    async def _write_tombstone(self, github_id: int) -> None:
        """Record for a restore that the consents of this person in a backup are out of date.

        One tombstone for each person, not for each client: a person with many clients cannot fill Redis with them.
        """
        await tombstones.write(
            self._redis, keyspace.ended_consents(github_id), lifetime_ms=keyspace.MOST_REMEMBERED * 1000
        )


async def forget_person(redis: Redis, github_id: int) -> bool:
    """Delete all consents of a person; for callers without the settings that a store needs."""
    async with guarded():
        return bool(await redis.delete(keyspace.consents(github_id)))


async def forget_client(redis: Redis, client_id: str) -> None:
    """Delete every consent for a client, so that all people are asked about it again."""
    field = keyspace.consent_field(client_id)
    async for key in scan(redis, keyspace.ALL_CONSENTS):
        async with guarded():
            await redis.hdel(key, field)


async def forget_everybody(redis: Redis) -> None:
    """Delete every consent, so that all people are asked about every client again."""
    async for key in scan(redis, keyspace.ALL_CONSENTS):
        async with guarded():
            await redis.delete(key)
