"""The part of Redis that a backup keeps: reading it, and writing it into an empty Redis.

A backup has the records that people and operators would miss. It leaves out records that are kept for minutes,
records that can be rebuilt (`user-grants`, `client-grants`, `sibling-grants`, documents of clients), and every
`token:<jti>`: a token that was revoked after the backup must not become active again. Clients get new access
tokens by refreshing.

Reading takes no lock, so each record is complete, but they are not all of one moment. No two records must agree:
the indexes are made from the grants, and a grant without its client is refused like any grant of a deleted client.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from oauth_core.store.connection import guarded
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Container, Sequence

    from redis.asyncio import Redis

KEPT: dict[str, Literal["text", "hash"]] = {
    "client": "text",
    "initial-access-token": "hash",
    "grant": "hash",
    "consents": "hash",
    "notices": "hash",
    "contact": "text",
    "user": "text",
    "login": "text",
    "block": "text",
    "disabled-client": "text",
    "disabled-trait": "text",
    "cut": "text",
    "ended": "text",
    "assertion": "text",
    "keyring": "text",
    "isolated-services": "text",
}
"""Families of keys (the part before the first colon) that a backup has, and the types of their values."""

FOUND_AGAIN = frozenset(
    {"client-grants", "sibling-grants", "user-grants", "document", "document-failed", "document-fetches"}
    | {"jwks", "signed-jwks", "signed-jwks-copy", "isolated-services-copy"}
)
SHORT_LIVED = frozenset(
    {"pending", "signin", "code", "device", "device-code", "device-attempts", "session", "user-sessions"}
    | {"contact-pending", "mail", "mails"}
    | {"answer", "device-first-attempts", "token", "lease", "lease-rest", "limit", "rate", "stored", "replicated"}
)
"""Families that a backup leaves out, and why."""

ADD_ONLY_FAMILIES = frozenset(
    {"assertion", "block", "cut", "disabled-client", "disabled-trait", "ended", "isolated-services", "login"}
)
"""Families of which a restore adds entries and replaces none: ended rights stay ended, and an assertion that was
used since the backup does not count again.
"""

KEEP_EXISTING_FAMILIES = frozenset(
    {"client", "consents", "contact", "grant", "initial-access-token", "notices", "user"}
)
"""Families of which a record that is in the backup and in Redis stays as it is in Redis. There it is newer: a
refresh token or an initial access token was used, permissions were narrowed, a person got another login or wants
to be asked about a client again.
"""

RESTORED = "restored"
"""The field which marks a grant that came from a backup and has not been used since
(`oauth_core.store.records.refresh_rotation`).
"""

# Each entry is one command, so that an interruption writes it completely or not at all. KEYS: cutoff. ARGV:
# second, the millisecond at which it expires, or ''. The later of two cutoffs is kept.
_PUT_CUTOFF = """
if tonumber(redis.call('GET', KEYS[1]) or '-1') >= tonumber(ARGV[1]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[2] ~= '' then redis.call('PEXPIREAT', KEYS[1], ARGV[2]) end
return 1
"""
# KEYS: a hash. ARGV: the millisecond at which it expires, or ''; then fields and values.
_PUT_HASH = """
redis.call('DEL', KEYS[1])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
if ARGV[1] ~= '' then redis.call('PEXPIREAT', KEYS[1], ARGV[1]) end
return 1
"""

_MOST_AT_ONCE = 500
_NO_SUCH_KEY = -2
_NO_EXPIRY = -1


@dataclass(frozen=True)
class Entry:
    """One key: its value, and the millisecond since the epoch at which it expires, if it does."""

    key: str
    value: str | dict[str, str]
    expires_at: int | None = None


def family(key: str) -> str:
    """Return the family of a key. The access tokens of a grant are not in the family of the grant."""
    if key.startswith("grant:") and key.endswith(":tokens"):
        return "token"
    return key.partition(":")[0]


class Snapshot:
    """Reads and writes all records. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def is_empty(self) -> bool:
        """Return whether Redis has no keys of this product."""
        ours = KEPT.keys() | FOUND_AGAIN | SHORT_LIVED
        async for key in scan(self._redis):
            if family(key) in ours:
                return False
        return True

    async def has_history(self) -> bool:
        """Return whether Redis has records of people, clients or ended rights: more than a new gateway has."""
        async for key in scan(self._redis):
            if family(key) in ADD_ONLY_FAMILIES | KEEP_EXISTING_FAMILIES:
                return True
        return False

    async def entries(self) -> AsyncIterator[Entry]:
        """Yield every entry of a backup. One that is created meanwhile may be missing; a key may come twice."""
        batch: list[str] = []
        async for key in scan(self._redis):
            if family(key) in KEPT:
                batch.append(key)
            if len(batch) == _MOST_AT_ONCE:
                for entry in await self._read(batch):
                    yield entry
                batch = []
        for entry in await self._read(batch):
            yield entry

    async def _read(self, keys: Sequence[str]) -> list[Entry]:
        async with guarded(), self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                if KEPT[family(key)] == "hash":
                    pipeline.hgetall(key)
                else:
                    pipeline.get(key)
                # Afterwards: a key that ended in between has no lifetime left, and is left out.
                pipeline.pttl(key)
            answers = await pipeline.execute()
        now = int(time.time() * 1000)
        return [
            Entry(key, value, None if left == _NO_EXPIRY else now + left)
            for key, value, left in zip(keys, answers[::2], answers[1::2], strict=True)
            if value and left != _NO_SUCH_KEY
        ]

    async def put(self, entries: Sequence[Entry]) -> Counter[str]:
        """Write `entries`, each with its expiry; returns how many of each family were written.

        Expired entries are left out. An entry that takes rights away replaces none: the present one may be newer.
        """
        now = int(time.time() * 1000)
        living = [entry for entry in entries if entry.expires_at is None or entry.expires_at > now]
        async with guarded(), self._redis.pipeline(transaction=False) as pipeline:
            for entry in living:
                kind, until = family(entry.key), "" if entry.expires_at is None else str(entry.expires_at)
                if not isinstance(entry.value, str):
                    items = entry.value | ({RESTORED: "1"} if kind == "grant" else {})
                    parts = [part for pair in items.items() for part in pair]
                    pipeline.eval(_PUT_HASH, 1, entry.key, until, *parts)
                elif kind == "cut":
                    pipeline.eval(_PUT_CUTOFF, 1, entry.key, entry.value, until)
                else:
                    pipeline.set(entry.key, entry.value, pxat=entry.expires_at, nx=kind in ADD_ONLY_FAMILIES)
            written = await pipeline.execute()
        return Counter(family(entry.key) for entry, was in zip(living, written, strict=True) if was)

    async def clear(self, *, but: Container[str]) -> frozenset[str]:
        """Delete all keys of this product that a backup replaces. Other keys stay, and so do notices and mail
        addresses: they give no right, and people must get mails about what follows.

        `but` are the keys that the backup has. Returns those that stay as they are, because they are newer.
        """
        gone = (KEPT.keys() | FOUND_AGAIN | SHORT_LIVED) - ADD_ONLY_FAMILIES - {"contact", "notices"}
        kept: set[str] = set()
        async for key in scan(self._redis):
            kind = family(key)
            if kind in KEEP_EXISTING_FAMILIES and key in but:
                kept.add(key)
            elif kind in gone and kind != "isolated-services-copy":
                async with guarded():
                    await self._redis.delete(key)
        return frozenset(kept)

    async def shut_out_now(self) -> dict[str, str]:
        """Return the present entries that take rights away, by key."""
        found: dict[str, str] = {}
        async for key in scan(self._redis):
            if family(key) in ADD_ONLY_FAMILIES:
                async with guarded():
                    value = await self._redis.get(key)
                if value is not None:
                    found[key] = str(value)
        return found
