"""Adoption: adds the authentication code to records that an older version wrote without one.

`oauth_core.crypto.record_authentication` defines the code. A version before schema 3 wrote plain records. Adoption
trusts the contents of Redis, so it happens once, and only when an operator asks for it. Otherwise an attacker with
write access could write a plain grant, put back the old key ring, and wait for the next start. A backup is
authenticated as a whole. So its records are adopted while they are read from the file, and no data in Redis is
trusted.

A record is changed only if it is still as it was read, and its expiry stays. A second run changes nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, cast

from oauth_core.store.codec import location_in_hash
from oauth_core.store.connection import guarded
from oauth_core.store.maintenance.snapshot import family
from oauth_core.store.records.client_documents import Copy, code_of_copy
from oauth_core.store.records.grants import stored_refresh_hash
from oauth_core.store.records.key_ring import NotAdoptedError
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Mapping

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.store.records.key_ring import KeyRingStore

_TEXTS = frozenset({"client", "user", "session", "pending", "signin"})
_POINTER = "device-code"
_HASHES = frozenset({"grant", "code", "initial-access-token", "device"})
_CONSENTS = "consents"
_DOCUMENT = "document"

# KEYS: a text. ARGV: the text that was read, the new text.
_REPLACE_TEXT = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
return 1
"""

# KEYS: a hash. ARGV: for each field its name, the value that was read ('' if it was absent), its new value.
_REPLACE_FIELDS = """
for i = 1, #ARGV, 3 do
  if (redis.call('HGET', KEYS[1], ARGV[i]) or '') ~= ARGV[i + 1] then return 0 end
end
for i = 1, #ARGV, 3 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 2]) end
return 1
"""


def authenticated_text(key: RecordKey, name: str, text: str) -> str | None:
    """Return `text`, found at the Redis key `name`, with its code; `None` if it has one or needs none."""
    kind = family(name)
    is_plain = "." not in text if kind == _POINTER else kind in _TEXTS and _is_plain(text)
    return key.sign(name, text) if is_plain else None


def authenticated_fields(key: RecordKey, name: str, found: Mapping[str, str]) -> dict[str, str]:
    """Return the new values of the fields that have no authentication code yet, of the hash at `name`.

    The result is empty if every field has one.
    """
    kind = family(name)
    if kind in _HASHES:
        return _record(key, name, found)
    if kind == _CONSENTS:
        return {
            field: key.sign(location_in_hash(name, field), record)
            for field, record in found.items()
            if _is_plain(record)
        }
    if kind == _DOCUMENT and "body" in found and "code" not in found:
        copy = Copy(found["body"], int(found["fetched_at"]), int(found["fresh_until"]))
        return {"code": code_of_copy(key, name, copy)}
    return {}


async def count_plain(redis: Redis, key: RecordKey) -> Counter[str]:
    """Count the records without a code, by the family of their key. Raises `StoreUnavailableError`."""
    found: Counter[str] = Counter()
    async for name, _seen, _changed in _plain(redis, key):
        found[family(name)] += 1
    return found


async def adopt(redis: Redis, ring: KeyRingStore) -> Counter[str]:
    """Add the code to every record that has none, then record in `ring` that this was done.

    Returns how many records these were, by the family of their key. Every program that writes the older form must
    have ended. Raises `KeyRingError` and `StoreUnavailableError`.
    """
    with suppress(NotAdoptedError):  # a ring of another master key is refused before a record changes
        await ring.check_adopted()
    done = await _adopt_records(redis, ring.record_key)
    await ring.adopt()
    return done


async def _adopt_records(redis: Redis, key: RecordKey) -> Counter[str]:
    replace_text, replace_fields = redis.register_script(_REPLACE_TEXT), redis.register_script(_REPLACE_FIELDS)
    done: Counter[str] = Counter()
    async for name, seen, changed in _plain(redis, key):
        async with guarded():
            if isinstance(changed, str):
                done[family(name)] += int(await replace_text([name], [str(seen), changed]))
            else:
                before = cast("Mapping[str, str]", seen)
                fields = [(field, before.get(field, ""), new) for field, new in changed.items()]
                done[family(name)] += int(await replace_fields([name], [part for each in fields for part in each]))
    return done


async def _plain(
    redis: Redis, key: RecordKey
) -> AsyncIterator[tuple[str, str | Mapping[str, str], str | dict[str, str]]]:
    """Yield the records without a code: the key, the present value and the new value."""
    texts, hashes = _TEXTS | {_POINTER}, _HASHES | {_CONSENTS, _DOCUMENT}
    async for name in scan(redis):
        kind = family(name)
        if kind in texts:
            async with guarded():
                text = cast("str | None", await redis.get(name))
            if text is not None and (signed := authenticated_text(key, name, text)) is not None:
                yield name, text, signed
        elif kind in hashes:
            async with guarded():
                found = await cast("Awaitable[dict[str, str]]", redis.hgetall(name))
            if changed := authenticated_fields(key, name, found):
                yield name, found, changed


def _record(key: RecordKey, name: str, found: Mapping[str, str]) -> dict[str, str]:
    record = found.get("record")
    if record is None or not _is_plain(record):
        return {}
    changed = {"record": key.sign(name, record)}
    if decision := found.get("decision"):
        changed["decision"] = key.sign(location_in_hash(name, "decision"), decision)
    return changed | _refresh_tokens(key, name, found)


def _refresh_tokens(key: RecordKey, name: str, found: Mapping[str, str]) -> dict[str, str]:
    """Return the hashes of a grant's refresh tokens as codes. They change with the record, so only once."""
    changed = {
        field: stored_refresh_hash(key, name, found[field])
        for field in ("family", "current", "previous")
        if field in found
    }
    if found.get("ancestors"):
        older = [
            [stored_refresh_hash(key, name, secret_hash), *rest]
            for secret_hash, *rest in json.loads(found["ancestors"])
        ]
        changed["ancestors"] = json.dumps(older)
    return changed


def _is_plain(text: str) -> bool:
    """Return whether `text` is a record without a code: every record is a JSON object."""
    return text.startswith("{")
