"""Authorizations that wait for consent, then for GitHub. One atomic step takes each of them once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret, new_secret
from oauth_core.limits.quotas import Stored
from oauth_core.model import PendingAuthorization, SignIn
from oauth_core.store import keyspace
from oauth_core.store.codec import SignedCodec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.store.records.quotas import QuotaStore

_PENDING = SignedCodec(PendingAuthorization)
_SIGN_IN = SignedCodec(SignIn)


class AuthorizationStore:
    """Stores both kinds. `lifetime` is the seconds that a person has for each of the two steps."""

    def __init__(self, redis: Redis, key: RecordKey, quotas: QuotaStore, *, lifetime: int) -> None:
        self._redis = redis
        self._key = key
        self._quotas = quotas
        self._lifetime = lifetime

    async def add_pending(self, pending: PendingAuthorization, *, caller: str) -> str:
        """Store `pending`, which counts against `caller`, and return the handle for the consent form.

        Raises `StoreUnavailableError`, and `DisplayedError` when the quota is used up.
        """
        handle = new_secret()
        redis_key = keyspace.pending(hash_secret(handle))
        await self._store(redis_key, _PENDING.dump(pending, self._key, redis_key), caller)
        return handle

    async def pending(self, handle: str) -> PendingAuthorization | None:
        """Return the authorization of `handle` without taking it."""
        redis_key = keyspace.pending(hash_secret(handle))
        async with guarded():
            text = await self._redis.get(redis_key)
        return _PENDING.load(text, self._key, redis_key)

    async def take_pending(self, handle: str) -> PendingAuthorization | None:
        """Take the authorization of `handle`: only one of two callers gets it."""
        redis_key = keyspace.pending(hash_secret(handle))
        async with guarded():
            text = await self._redis.getdel(redis_key)
        return _PENDING.load(text, self._key, redis_key)

    async def add_sign_in(self, state: str, sign_in: SignIn, *, caller: str) -> None:
        """Store a sign-in until GitHub returns `state`. Raises the same errors as `add_pending`."""
        redis_key = keyspace.sign_in(hash_secret(state))
        await self._store(redis_key, _SIGN_IN.dump(sign_in, self._key, redis_key), caller)

    async def _store(self, redis_key: str, text: str, caller: str) -> None:
        size = len(redis_key) + len(text)
        await self._quotas.take(Stored.SIGN_INS, size, lifetime=self._lifetime, caller=caller)
        async with guarded():
            await self._redis.set(redis_key, text, ex=self._lifetime)

    async def sign_in(self, state: str) -> SignIn | None:
        """Return the login redirect of `state` without taking it."""
        redis_key = keyspace.sign_in(hash_secret(state))
        async with guarded():
            text = await self._redis.get(redis_key)
        return _SIGN_IN.load(text, self._key, redis_key)

    async def take_sign_in(self, state: str) -> SignIn | None:
        """Take the login redirect of `state`: only one of two callers gets it."""
        redis_key = keyspace.sign_in(hash_secret(state))
        async with guarded():
            text = await self._redis.getdel(redis_key)
        return _SIGN_IN.load(text, self._key, redis_key)
