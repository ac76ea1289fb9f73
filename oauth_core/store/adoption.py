"""Authenticating the records that an older version wrote, once (`oauth_core.record_key`).

An older version wrote records without a code. The first start of this version believes what it finds and adds the
codes. That must happen only once: otherwise an attacker with write access could write a plain record and wait for
the next start. The key ring notes, sealed under the master key, that it was done (`KeyRingStore.adopt`).

A record is changed only if it is still the one that was read, and keeps its life. A second run changes nothing.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from oauth_core.store import keyspace
from oauth_core.store.codec import place_in
from oauth_core.store.connection import guarded
from oauth_core.store.documents import Copy, code_of_copy
from oauth_core.store.grants import stored_refresh_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from redis.asyncio import Redis

    from oauth_core.record_key import RecordKey

_TEXTS = (
    keyspace.ALL_CLIENTS,
    keyspace.ALL_USERS,
    keyspace.ALL_SESSIONS,
    keyspace.pending("*"),
    keyspace.sign_in("*"),
)
_HASHES = (keyspace.ALL_GRANTS, keyspace.code("*"), keyspace.ALL_INITIAL_ACCESS_TOKENS, keyspace.device("*"))

# KEYS: a text. ARGV: what was read, what to put in its place.
_REPLACE_TEXT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""

# KEYS: a hash. ARGV: a field and what was read there, then fields and their new values.
_REPLACE_FIELDS = """
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 1
"""


async def sign_records(redis: Redis, key: RecordKey) -> None:
    """Add the code to every record that has none. Raises `StoreUnavailableError`."""
    adoption = _Adoption(redis, key)
    async with guarded():
        for pattern in _TEXTS:
            async for name in redis.scan_iter(match=pattern, count=1000):
                await adoption.text(str(name))
        for pattern in _HASHES:
            async for name in redis.scan_iter(match=pattern, count=1000):
                await adoption.record(str(name))
        async for name in redis.scan_iter(match=keyspace.device_user_code("*"), count=1000):
            await adoption.pointer(str(name))
        async for name in redis.scan_iter(match=keyspace.ALL_CONSENTS, count=1000):
            await adoption.consents(str(name))
        async for name in redis.scan_iter(match=keyspace.document("*"), count=1000):
            await adoption.document(str(name))


class _Adoption:
    """One method for each form of record."""

    def __init__(self, redis: Redis, key: RecordKey) -> None:
        self._redis = redis
        self._key = key
        self._replace_text = redis.register_script(_REPLACE_TEXT)
        self._replace_fields = redis.register_script(_REPLACE_FIELDS)

    async def text(self, name: str) -> None:
        text = cast("str | None", await self._redis.get(name))
        if text is not None and _is_plain(text):
            await self._replace_text([name], [text, self._key.sign(name, text)])

    async def pointer(self, name: str) -> None:
        device_hash = await self._redis.get(name)
        if device_hash is not None and "." not in device_hash:
            await self._replace_text([name], [device_hash, self._key.sign(name, str(device_hash))])

    async def record(self, name: str) -> None:
        found = await self._all(name)
        record = found.get("record")
        if record is None or not _is_plain(record):
            return
        changed = {"record": self._key.sign(name, record)}
        if decision := found.get("decision"):
            changed["decision"] = self._key.sign(place_in(name, "decision"), decision)
        changed |= self._refresh_tokens(name, found)
        await self._replace(name, "record", record, changed)

    def _refresh_tokens(self, name: str, found: dict[str, str]) -> dict[str, str]:
        """The hashes of a grant's refresh tokens as codes; in the same step as the record, so never twice."""
        changed: dict[str, str] = {
            field: stored_refresh_hash(self._key, name, found[field])
            for field in ("family", "current", "previous")
            if field in found
        }
        if found.get("ancestors"):
            older = [
                [stored_refresh_hash(self._key, name, secret_hash), *rest]
                for secret_hash, *rest in json.loads(found["ancestors"])
            ]
            changed["ancestors"] = json.dumps(older)
        return changed

    async def consents(self, name: str) -> None:
        for field, record in (await self._all(name)).items():
            if _is_plain(record):
                await self._replace(name, field, record, {field: self._key.sign(place_in(name, field), record)})

    async def document(self, name: str) -> None:
        found = await self._all(name)
        if "body" in found and "code" not in found:
            copy = Copy(found["body"], int(found["fetched_at"]), int(found["fresh_until"]))
            await self._replace(name, "body", copy.body, {"code": code_of_copy(self._key, name, copy)})

    async def _all(self, name: str) -> dict[str, str]:
        return await cast("Awaitable[dict[str, str]]", self._redis.hgetall(name))

    async def _replace(self, name: str, field: str, seen: str, changed: dict[str, str]) -> None:
        pairs = [part for pair in changed.items() for part in pair]
        await self._replace_fields([name], [field, seen, *pairs])


def _is_plain(text: str) -> bool:
    """Whether `text` is a record without a code: every record is a JSON object."""
    return text.startswith("{")
