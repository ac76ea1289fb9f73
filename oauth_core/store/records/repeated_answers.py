"""Answers to requests that a browser may send twice, kept for some seconds. Claiming one is an atomic step.

A key exists from the moment at which one of several callers may make the answer. It holds the answer, encrypted by
the caller, as soon as there is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.crypto.credentials import hash_secret
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """An answer for the browser with this hash; without `sealed_answer` it is being made."""

    browser_hash: str
    sealed_answer: str | None = field(default=None, repr=False)


_MADE_ONCE = Codec(StoredAnswer)


class AnswerStore:
    """Stores answers by the hash of the secret that was sent. Raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def claim(self, secret: str, browser_hash: str) -> bool:
        """Return whether the caller makes the answer to `secret`: True for only one of any number of callers."""
        text = _MADE_ONCE.dump(StoredAnswer(browser_hash))
        async with guarded():
            return bool(await self._redis.set(_key(secret), text, nx=True, ex=keyspace.ANSWER_CLAIM_LIFETIME))

    async def store(self, secret: str, answer: StoredAnswer) -> None:
        """Store the answer for repeated requests."""
        async with guarded():
            await self._redis.set(_key(secret), _MADE_ONCE.dump(answer), ex=keyspace.ANSWER_LIFETIME)

    async def find(self, secret: str) -> StoredAnswer | None:
        """Return the answer to `secret`, made or being made; `None` for a first or an expired request."""
        async with guarded():
            text = await self._redis.get(_key(secret))
        return None if text is None else _MADE_ONCE.load(text)

    async def forget(self, secret: str) -> None:
        """Delete the claim: there will be no answer."""
        async with guarded():
            await self._redis.delete(_key(secret))


def _key(secret: str) -> str:
    return keyspace.answer(hash_secret(secret))
