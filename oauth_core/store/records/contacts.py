"""Mail addresses of people: confirmed ones, and those that wait for a confirmation. Redis has them encrypted."""

from __future__ import annotations

import hmac
from contextlib import suppress
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret
from oauth_core.flows.mail_notices import PENDING_LIFETIME, Contact, PendingContact
from oauth_core.store import keyspace
from oauth_core.store.codec import SealedCodec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey

_CONTACT = SealedCodec(Contact)
_PENDING = SealedCodec(PendingContact)


class ContactStore:
    """Stores addresses. Every method that asks Redis raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key

    async def get(self, github_id: int) -> Contact | None:
        """Return the confirmed address of a person; `None` also for one that another version wrote."""
        redis_key = keyspace.contact(github_id)
        async with guarded():
            text = await self._redis.get(redis_key)
        with suppress(ValueError):  # nothing that gives a notice may fail because of it
            return None if text is None else _CONTACT.load(str(text), self._key, redis_key)
        return None

    async def put(self, github_id: int, contact: Contact) -> None:
        """Set the confirmed address of a person."""
        redis_key = keyspace.contact(github_id)
        async with guarded():
            await self._redis.set(redis_key, _CONTACT.dump(contact, self._key, redis_key))

    async def change(self, github_id: int, contact: Contact) -> bool:
        """Replace the address of a person, unless it was removed meanwhile. Returns whether it was there."""
        redis_key = keyspace.contact(github_id)
        async with guarded():
            text = _CONTACT.dump(contact, self._key, redis_key)
            return bool(await self._redis.set(redis_key, text, xx=True))

    async def remove(self, github_id: int) -> bool:
        """Remove the address of a person. Returns whether there was one."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.contact(github_id)))

    async def begin(self, pending: PendingContact, secret: str) -> None:
        """Store an address that waits for its confirmation. `secret` is that of its link."""
        redis_key = keyspace.pending_contact(hash_secret(secret))
        async with guarded():
            text = _PENDING.dump(pending, self._key, redis_key)
            await self._redis.set(redis_key, text, ex=PENDING_LIFETIME)

    async def take(self, secret: str, *, github_id: int, session_hash: str) -> PendingContact | None:
        """Return the address that waits under `secret` and end the wait, if it was entered in this session.

        In another session nothing changes, so a person who got the link by mistake cannot use it up.
        """
        redis_key = keyspace.pending_contact(hash_secret(secret))
        async with guarded():
            text = await self._redis.get(redis_key)
        pending = None if text is None else _PENDING.load(str(text), self._key, redis_key)
        if pending is None or pending.github_id != github_id or pending.session_hash != session_hash:
            return None
        async with guarded():
            return pending if await self._redis.delete(redis_key) else None

    def unsubscribe_code(self, github_id: int, address: str) -> str:
        """Return the code with which a mail program ends the mails to this address, without a sign-in."""
        return f"{github_id}.{self._key.code_of('unsubscribe', f'{github_id} {address}')}"

    async def unsubscribe(self, code: str) -> int | None:
        """Remove the address for which the code was made. Returns the person, or `None` for any other code."""
        number = code.partition(".")[0]
        if not (number.isascii() and number.isdigit() and len(number) <= _LONGEST_ID):
            return None
        github_id = int(number)
        contact = await self.get(github_id)
        if contact is None:
            return None
        expected = self.unsubscribe_code(github_id, contact.address)
        if not hmac.compare_digest(expected.encode(), code.encode()):
            return None
        return github_id if await self.remove(github_id) else None


_LONGEST_ID = 19
"""Digits of the number of an account."""
