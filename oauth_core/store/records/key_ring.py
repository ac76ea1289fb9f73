"""The key ring in Redis: private keys, encrypted, and beside them the public set that the check service reads.

The check service may read the public set and its copies in a cluster, and no other part. So it never holds a key
that signs. The set is signed (`oauth_core.jose.jwk_set_signature`).

Check services of the version before read a set without a signature at another key. That set is published as well,
so that they keep working during an upgrade; the next version does not publish it any more.
"""

from __future__ import annotations

import base64
import contextlib
import json
import time
from typing import TYPE_CHECKING

from oauth_core.crypto.record_authentication import RecordKey
from oauth_core.crypto.sealing import UnsealError, seal, unseal
from oauth_core.errors import StoreUnavailableError
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.jose.key_ring import KeyRing
from oauth_core.jose.signing_keys import Algorithm, SigningKey, generate_key
from oauth_core.store import clock, keyspace
from oauth_core.store.connection import guarded, is_cluster
from oauth_core.store.copies import NotEverywhereError, copy_keys_in, write_all_copies
from oauth_core.store.records import tombstones

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

_CONTEXT = "portcullis signing key, records authenticated"
_OLD_CONTEXT = "portcullis signing key"
"""The context of a ring from before records were authenticated. Only adoption opens such a ring
(`oauth_core.store.maintenance.adoption`).
"""

_NOT_ADOPTED = (
    "the records in Redis have no authentication codes: an older version wrote them, or an attacker put back the "
    "key ring of an older version. Right after an upgrade, and only then: `portcullis migrate --adopt-records` "
    "(docs/operations.md, Upgrade). If this version ran here before: delete the key 'keyring' in Redis; a "
    "running oauth_web writes its own key ring again, and without one all people must sign in again"
)

_MOST_TRIES = 10

# KEYS: ring. ARGV: its old text, its new text. Two operators at once must not lose each other's change. The first
# write needs no memory, so that a full Redis accepts the second: it must be possible to remove a leaked key.
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
# KEYS: a document. ARGV: its new text.
_PUT = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[1])
"""


class KeyRingError(Exception):
    """The key ring in Redis cannot be opened with this master key. The message contains the remedy."""


class WrongMasterKeyError(KeyRingError):
    """The key ring was sealed with another master key."""


class NotAdoptedError(KeyRingError):
    """The key ring dates from before the records beside it were authenticated."""

    def __init__(self) -> None:
        super().__init__(_NOT_ADOPTED)


def without(text: str, is_ended: Callable[[str], bool]) -> str | None:
    """Return a stored ring without the keys for which `is_ended` is true; `None` when no key is left."""
    left = [entry for entry in json.loads(text) if not is_ended(entry["kid"])]
    return json.dumps(left) if left else None


class KeyRingStore:
    """Stores the key ring. `master_key` is 256 bits; see `MASTER_KEY` in the settings."""

    def __init__(self, redis: Redis, *, master_key: bytes) -> None:
        self._redis = redis
        self._master_key = master_key
        self.record_key = RecordKey(master_key)
        """The key that authenticates the other records."""
        self._signer = KeySetSigner(master_key)
        self._verifier = self._signer.verifier
        self._replace = redis.register_script(_REPLACE)
        self._put = redis.register_script(_PUT)
        self._keys = copy_keys_in(redis, keyspace.JWKS)
        self._text: str | bytes | None = None
        self._ring: KeyRing | None = None

    async def open(self, algorithm: Algorithm, *, now: int) -> KeyRing:
        """Return the ring; makes its first key when there is none.

        Several processes may start at once: one of them makes the key, and all get the same ring. The public set
        is published before any process can sign. Raises `KeyRingError` and `StoreUnavailableError`.
        """
        async with guarded():
            if await self._redis.get(keyspace.KEYRING) is None:
                first = self._dump(KeyRing((generate_key(algorithm, now=now),)))
                await self._redis.set(keyspace.KEYRING, first, nx=True)
        ring = await self.read()
        await self._publish(ring)
        return ring

    async def read(self) -> KeyRing:
        """Return the present ring; it is decrypted again only after a change. Raises the same errors as `open`."""
        async with guarded():
            text = await self._redis.get(keyspace.KEYRING)
        if text is None:
            raise KeyRingError("there is no key ring in Redis; start oauth_web once to have one made")
        if self._ring is None or text != self._text:
            self._ring, self._text = self._open_text(text), text
        return self._ring

    async def check_adopted(self) -> None:
        """Check that the records beside the ring are authenticated; pass when there is no ring.

        Raises `NotAdoptedError`, another `KeyRingError` and `StoreUnavailableError`.
        """
        async with guarded():
            text = await self._redis.get(keyspace.KEYRING)
        if text is not None:
            self._open_text(text)

    async def exists(self) -> bool:
        """Return whether Redis has a key ring. Raises `StoreUnavailableError`."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.KEYRING))

    async def restore_if_missing(self, ring: KeyRing) -> bool:
        """Store `ring` again if Redis has lost its ring; returns whether it had.

        A key that is recorded as retired is left out. Raises `StoreUnavailableError`.
        """
        async with guarded():
            left = [key for key in ring.keys if not await self._redis.exists(keyspace.ended_key(key.kid))]
            kept = KeyRing(tuple(left or [generate_key(ring.keys[0].algorithm, now=ring.keys[0].created_at)]))
            return bool(await self._redis.set(keyspace.KEYRING, self._dump(kept), nx=True))

    def check_opens(self, text: str) -> None:
        """Check that this master key opens the stored ring `text`. Raises `KeyRingError`."""
        self._open_text(text)

    def adopted(self, text: str) -> str:
        """Return the stored ring `text` of an older version in the present form. Raises `KeyRingError`."""
        return self._dump(self._load(text, _OLD_CONTEXT))

    async def adopt(self) -> None:
        """Record for ever that the records beside this ring were authenticated, and publish its keys.

        Raises `KeyRingError` and `StoreUnavailableError`.
        """
        try:
            await self.check_adopted()
        except NotAdoptedError:
            async with guarded():
                text = str(await self._redis.get(keyspace.KEYRING))
                await self._replace([keyspace.KEYRING], [text, self.adopted(text)])
            await self._publish(await self.read())

    def _open_text(self, text: str | bytes) -> KeyRing:
        try:
            return self._load(text, _CONTEXT)
        except WrongMasterKeyError:
            self._load(text, _OLD_CONTEXT)
            raise NotAdoptedError from None

    async def change(self, how: Callable[[KeyRing], KeyRing]) -> KeyRing:
        """Replace the ring by the result of `how`, and publish it. Exceptions of `how` pass through.

        A new key is published before the ring that signs with it is stored; a removed key leaves the ring first.
        So no token is ever signed with a key that is not published.
        """
        for _ in range(_MOST_TRIES):
            before = await self.read()
            after = how(before)
            await self._publish(KeyRing(tuple({key.kid: key for key in (*after.keys, *before.keys)}.values())))
            async with guarded():
                replaced = await self._replace([keyspace.KEYRING], [self._text or "", self._dump(after)])
            if replaced:
                await self._publish(after)
                for key in before.keys:
                    if key not in after.keys:
                        await tombstones.write(self._redis, keyspace.ended_key(key.kid))
                return after
        raise KeyRingError("the key ring keeps changing; try again")

    async def publish_again(self, ring: KeyRing) -> bool:
        """Publish the public set of `ring` again if a copy is missing or differs.

        Returns whether it published. Raises `StoreUnavailableError`.
        """
        found = await self._published()
        async with guarded():
            has_plain = is_cluster(self._redis) or await self._redis.get(keyspace.PLAIN_JWKS) == ring.jwks
        if has_plain and all(
            self._signer.sign(ring.jwks, version=self._version_of(document)) == document for document in found
        ):
            return False
        await self._publish(ring)
        return True

    async def is_published(self) -> bool:
        """Whether Redis holds at least one copy of the public key set. Raises `StoreUnavailableError`."""
        return any(document is not None for document in await self._published())

    async def _publish(self, ring: KeyRing) -> None:
        """Write the public set of `ring`, signed, with a version above that of the set it replaces.

        In a cluster a node may be unreachable: its older copy does not count beside a newer one.
        """
        try:
            now = await clock.seconds(self._redis)
        except StoreUnavailableError:
            now = time.time()
        versions = [self._version_of(document) + 1 for document in await self._published()]
        document = self._signer.sign(ring.jwks, version=max(int(now * 1000), *versions))

        async def put(redis_key: str) -> None:
            async with guarded():
                await self._put([redis_key], [document])

        with contextlib.suppress(NotEverywhereError):
            await write_all_copies(self._keys, put)
        with contextlib.suppress(StoreUnavailableError):  # in a cluster this one node may be unreachable
            async with guarded():
                await self._put([keyspace.PLAIN_JWKS], [ring.jwks])

    async def _published(self) -> list[str | bytes | None]:
        """Return the published sets that can be read. Raises `StoreUnavailableError` when no place can be read."""
        found: list[str | bytes | None] = []

        async def get(redis_key: str) -> None:
            async with guarded():
                found.append(await self._redis.get(redis_key))

        with contextlib.suppress(NotEverywhereError):
            await write_all_copies(self._keys, get)
        return found

    def _version_of(self, document: str | bytes | None) -> int:
        try:
            return 0 if document is None else self._verifier.open(document).version
        except ValueError:  # written by another version, or by an attacker
            return 0

    def _dump(self, ring: KeyRing) -> str:
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
                for key in ring.keys
            ]
        )

    def _load(self, text: str | bytes, context: str) -> KeyRing:
        try:
            keys = [
                SigningKey.from_pem(
                    unseal(
                        base64.b64decode(entry["sealed"]), self._master_key, context=f"{context} {entry['kid']}"
                    ),
                    entry["alg"],
                    _time(entry["created_at"]),
                )
                for entry in json.loads(text)
            ]
        except UnsealError:
            raise WrongMasterKeyError(
                "the key ring was sealed with another MASTER_KEY; "
                "use that key again, or stop every oauth_web and delete the key 'keyring' in Redis; "
                "then all people must sign in again"
            ) from None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise KeyRingError(f"the key ring in Redis is damaged: {error}") from None
        if not keys:
            raise KeyRingError("the key ring in Redis is empty; delete the key 'keyring' to have a new one made")
        return KeyRing(tuple(sorted(keys, key=lambda key: key.created_at, reverse=True)))


def _time(value: object) -> int:
    if type(value) is not int:
        raise ValueError("a key has no time at which it was made")
    return value
