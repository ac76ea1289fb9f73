"""The key ring in Redis: private parts sealed, and the public set beside it that the check service reads.

The check service may read the public set, and its copies in a cluster, and nothing else of this, so it never holds
what could sign. The set is signed (`oauth_core.jose.jwk_set_signature`).

Check services of the version before read a set without a signature at another key. It is published as well, so
that these go on while the gateway is upgraded; the next version does not publish it any more.
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
from oauth_core.store.copies import NotEverywhereError, everywhere, places_in
from oauth_core.store.records import tombstones

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

_CONTEXT = "portcullis signing key, records authenticated"
_OLD_CONTEXT = "portcullis signing key"
"""Of a ring from before records were authenticated. Only adoption opens it
(`oauth_core.store.maintenance.adoption`).
"""

_NOT_ADOPTED = (
    "the records in Redis have no authentication codes: an older version wrote them, or an attacker put back the "
    "key ring of an older version. Right after an upgrade, and only then: `portcullis migrate --adopt-records` "
    "(docs/operations.md, Upgrade). If this version ran here before: delete the key 'keyring' in Redis; an "
    "oauth_web that runs writes its own again, and without one everybody signs in again"
)

_MOST_TRIES = 10

# KEYS: ring. ARGV: what it was, what it shall be. Two operators at once must not lose each other's change. The
# first write needs no memory, so that a full Redis takes the second: a key that leaked must go.
_REPLACE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2])
return 1
"""
# KEYS: a document. ARGV: what it shall be.
_PUT = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[1])
"""


class KeyRingError(Exception):
    """The key ring in Redis cannot be opened with this master key. The message says what to do."""


class WrongMasterKeyError(KeyRingError):
    """The key ring was sealed with another master key."""


class NotAdoptedError(KeyRingError):
    """The key ring says that the records beside it were not authenticated yet."""

    def __init__(self) -> None:
        super().__init__(_NOT_ADOPTED)


def without(text: str, is_ended: Callable[[str], bool]) -> str | None:
    """A ring as it is written, without the keys whose id `is_ended`; `None` when no key is left."""
    left = [entry for entry in json.loads(text) if not is_ended(entry["kid"])]
    return json.dumps(left) if left else None


class KeyRingStore:
    """`master_key` is 256 bits; see `MASTER_KEY` in the settings."""

    def __init__(self, redis: Redis, *, master_key: bytes) -> None:
        self._redis = redis
        self._master_key = master_key
        self.record_key = RecordKey(master_key)
        """The key that authenticates the other records."""
        self._signer = KeySetSigner(master_key)
        self._verifier = self._signer.verifier
        self._replace = redis.register_script(_REPLACE)
        self._put = redis.register_script(_PUT)
        self._places = places_in(redis, keyspace.JWKS)
        self._text: str | bytes | None = None
        self._ring: KeyRing | None = None

    async def open(self, algorithm: Algorithm, *, now: int) -> KeyRing:
        """The ring; makes its first key when there is none.

        Several processes may start at once: one of them makes the key, all get the same. The public set is
        published before anybody can sign. Raises `KeyRingError` and `StoreUnavailableError`.
        """
        async with guarded():
            if await self._redis.get(keyspace.KEYRING) is None:
                first = self._dump(KeyRing((generate_key(algorithm, now=now),)))
                await self._redis.set(keyspace.KEYRING, first, nx=True)
        ring = await self.read()
        await self._publish(ring)
        return ring

    async def read(self) -> KeyRing:
        """The ring as it is now; unsealed again only when it changed. Raises as `open` does."""
        async with guarded():
            text = await self._redis.get(keyspace.KEYRING)
        if text is None:
            raise KeyRingError("there is no key ring in Redis; start oauth_web once to have one made")
        if self._ring is None or text != self._text:
            self._ring, self._text = self._opened(text), text
        return self._ring

    async def check_adopted(self) -> None:
        """Pass when the records beside the ring are authenticated, or when there is no ring.

        Raises `NotAdoptedError`, another `KeyRingError` and `StoreUnavailableError`.
        """
        async with guarded():
            text = await self._redis.get(keyspace.KEYRING)
        if text is not None:
            self._opened(text)

    async def exists(self) -> bool:
        """Whether Redis has a key ring. Raises `StoreUnavailableError`."""
        async with guarded():
            return bool(await self._redis.exists(keyspace.KEYRING))

    async def put_back(self, ring: KeyRing) -> bool:
        """Keep `ring` again if Redis has none any more; answers whether that was so.

        A key that is known to be retired stays out. Raises `StoreUnavailableError`.
        """
        async with guarded():
            left = [key for key in ring.keys if not await self._redis.exists(keyspace.ended_key(key.kid))]
            kept = KeyRing(tuple(left or [generate_key(ring.keys[0].algorithm, now=ring.keys[0].created_at)]))
            return bool(await self._redis.set(keyspace.KEYRING, self._dump(kept), nx=True))

    def check_opens(self, text: str) -> None:
        """Pass when a ring that was written as `text` opens with this master key. Raises `KeyRingError`."""
        self._opened(text)

    def adopted(self, text: str) -> str:
        """The ring of an older version, to be written in the place of `text`. Raises `KeyRingError`."""
        return self._dump(self._load(text, _OLD_CONTEXT))

    async def adopt(self) -> None:
        """Note for ever that the records beside this ring were authenticated, and publish its keys.

        Raises `KeyRingError` and `StoreUnavailableError`.
        """
        try:
            await self.check_adopted()
        except NotAdoptedError:
            async with guarded():
                text = str(await self._redis.get(keyspace.KEYRING))
                await self._replace([keyspace.KEYRING], [text, self.adopted(text)])
            await self._publish(await self.read())

    def _opened(self, text: str | bytes) -> KeyRing:
        try:
            return self._load(text, _CONTEXT)
        except WrongMasterKeyError:
            self._load(text, _OLD_CONTEXT)
            raise NotAdoptedError from None

    async def change(self, how: Callable[[KeyRing], KeyRing]) -> KeyRing:
        """Replace the ring by what `how` makes of it, and publish the result. What `how` raises passes through.

        A key to be added is published before the ring that signs with it is stored; one to be removed leaves the
        ring first. So no token is ever signed with a key that is not published.
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
                        await tombstones.note(self._redis, keyspace.ended_key(key.kid))
                return after
        raise KeyRingError("the key ring keeps changing; try again")

    async def publish_again(self, ring: KeyRing) -> bool:
        """Publish what is not published any more, wherever a copy is missing or is not that of `ring`.

        Answers whether anything was missing. Raises `StoreUnavailableError`.
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
        """Whether check services find a public set somewhere. Raises `StoreUnavailableError`."""
        return any(document is not None for document in await self._published())

    async def _publish(self, ring: KeyRing) -> None:
        """Write the public set of `ring`, signed, with a version above that of the set it replaces.

        In a cluster a node may be away: its older copy does not count beside a newer one.
        """
        try:
            now = await clock.seconds(self._redis)
        except StoreUnavailableError:
            now = time.time()
        versions = [self._version_of(document) + 1 for document in await self._published()]
        document = self._signer.sign(ring.jwks, version=max(int(now * 1000), *versions))

        async def put(place: str) -> None:
            async with guarded():
                await self._put([place], [document])

        with contextlib.suppress(NotEverywhereError):
            await everywhere(self._places, put)
        with contextlib.suppress(StoreUnavailableError):  # of a cluster this one node may be away
            async with guarded():
                await self._put([keyspace.PLAIN_JWKS], [ring.jwks])

    async def _published(self) -> list[str | bytes | None]:
        """The published sets that can be read. Raises `StoreUnavailableError` when there is none of these."""
        found: list[str | bytes | None] = []

        async def get(place: str) -> None:
            async with guarded():
                found.append(await self._redis.get(place))

        with contextlib.suppress(NotEverywhereError):
            await everywhere(self._places, get)
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
                    entry["created_at"],
                )
                for entry in json.loads(text)
            ]
        except UnsealError:
            raise WrongMasterKeyError(
                "the key ring was sealed with another MASTER_KEY; "
                "bring that one back, or stop every oauth_web, delete the key 'keyring' in Redis, "
                "and have everybody sign in again"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise KeyRingError(f"the key ring in Redis is damaged: {error}") from None
        if not keys:
            raise KeyRingError("the key ring in Redis is empty; delete the key 'keyring' to have a new one made")
        return KeyRing(tuple(sorted(keys, key=lambda key: key.created_at, reverse=True)))
