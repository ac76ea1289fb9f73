"""The key ring: signing keys with their private parts sealed, and the public set that the check service reads.

The check service may read `jwks` and nothing else of this, so it never holds what could sign.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

from oauth_core.keys import Algorithm, SigningKey, generate_key, public_jwks
from oauth_core.sealing import UnsealError, seal, unseal
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

_CONTEXT = "portcullis signing key"


class KeyRingError(Exception):
    """The key ring in Redis cannot be opened with this master key. The message says what to do."""


class KeyRingStore:
    """`master_key` is 256 bits; see `MASTER_KEY` in the settings."""

    def __init__(self, redis: Redis, *, master_key: bytes) -> None:
        self._redis = redis
        self._master_key = master_key

    async def open(self, algorithm: Algorithm, *, now: int) -> tuple[SigningKey, ...]:
        """The keys of the ring, newest first; makes the first one when there is none.

        Several processes may start at once: one of them makes the key, all get the same. The public set is
        published before anybody can sign. Raises `KeyRingError` and `StoreUnavailableError`.
        """
        async with guarded():
            text = await self._redis.get(keyspace.KEYRING)
            if text is None:
                first = self._dump((generate_key(algorithm, now=now),))
                await self._redis.set(keyspace.KEYRING, first, nx=True)
                text = await self._redis.get(keyspace.KEYRING)
            keys = self._load(text or "[]")
            if not keys:
                raise KeyRingError(
                    "the key ring in Redis is empty; delete the key 'keyring' to have a new one made"
                )
            await self._redis.set(keyspace.JWKS, public_jwks(keys))
        return keys

    def _dump(self, keys: tuple[SigningKey, ...]) -> str:
        return json.dumps(
            [
                {
                    "kid": key.kid,
                    "alg": key.algorithm,
                    "created_at": key.created_at,
                    "sealed": base64.b64encode(
                        seal(key.to_pem(), self._master_key, context=f"{_CONTEXT} {key.kid}")
                    ).decode(),
                }
                for key in keys
            ]
        )

    def _load(self, text: str | bytes) -> tuple[SigningKey, ...]:
        try:
            keys = [
                SigningKey.from_pem(
                    unseal(
                        base64.b64decode(entry["sealed"]), self._master_key, context=f"{_CONTEXT} {entry['kid']}"
                    ),
                    entry["alg"],
                    entry["created_at"],
                )
                for entry in json.loads(text)
            ]
        except UnsealError:
            raise KeyRingError(
                "the key ring in Redis was sealed with another MASTER_KEY; "
                "bring that one back, or delete the key 'keyring' and have everybody sign in again"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise KeyRingError(f"the key ring in Redis is damaged: {error}") from None
        return tuple(sorted(keys, key=lambda key: key.created_at, reverse=True))
