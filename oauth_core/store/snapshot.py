"""What of Redis is worth keeping elsewhere: reading it out for a backup, and putting it into an empty Redis.

Kept is what people and operators would miss. Left out is what lives for minutes, what can be found again
(`user-grants`, `client-grants`, documents of clients), and every `token:<jti>`: a token exists or is dead, and one
that was revoked after the backup must not come to life with it. Clients get new access tokens by refreshing.

Reading takes no lock, so records are each whole but not all of one moment. Nothing depends on two of them
agreeing: the indexes are made from the grants, and a grant without its client is refused like any other of a
deleted client.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from redis.asyncio import Redis

KEPT: dict[str, Literal["text", "hash"]] = {
    "client": "text",
    "initial-access-token": "hash",
    "grant": "hash",
    "consents": "hash",
    "user": "text",
    "login": "text",
    "block": "text",
    "cut": "text",
    "ended": "text",
    "assertion": "text",
    "keyring": "text",
    "jwks": "text",
    "isolated-services": "text",
}
"""Families of keys (what stands before the first colon) that a backup has, and what their values are."""

FOUND_AGAIN = frozenset(
    {"client-grants", "user-grants", "document", "document-failed", "document-fetches"}
    | {"jwks-copy", "isolated-services-copy"}
)
SHORT_LIVED = frozenset(
    {"pending", "signin", "code", "device", "device-code", "device-attempts", "session", "user-sessions"}
    | {"device-first-attempts", "token", "lease", "lease-rest", "rate", "stored", "replicated"}
)
"""Families that a backup leaves out, and why."""

SHUTS_OUT = frozenset({"block", "cut", "ended", "isolated-services"})
"""What stays when everything else is replaced by a backup: what was shut out since then stays out."""

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
    """What kind of key it is. The access tokens of a grant are not of the grant's kind."""
    if key.startswith("grant:") and key.endswith(":tokens"):
        return "token"
    return key.partition(":")[0]


class Snapshot:
    """Reads and writes everything. Every method raises `StoreUnavailableError`."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def is_empty(self) -> bool:
        """Whether Redis has nothing of ours."""
        ours = KEPT.keys() | FOUND_AGAIN | SHORT_LIVED
        async with guarded():
            async for key in self._redis.scan_iter(count=1000):
                if family(str(key)) in ours:
                    return False
        return True

    async def entries(self) -> AsyncIterator[Entry]:
        """Everything that a backup has; what appears meanwhile may be missing, and a key may come twice."""
        batch: list[str] = []
        async with guarded():
            async for key in self._redis.scan_iter(count=1000):
                if family(str(key)) in KEPT:
                    batch.append(str(key))
                if len(batch) == _MOST_AT_ONCE:
                    for entry in await self._read(batch):
                        yield entry
                    batch = []
            for entry in await self._read(batch):
                yield entry

    async def _read(self, keys: Sequence[str]) -> list[Entry]:
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                if KEPT[family(key)] == "hash":
                    pipeline.hgetall(key)
                else:
                    pipeline.get(key)
                # Afterwards: a key that ended in between has no life left, and is left out.
                pipeline.pttl(key)
            answers = await pipeline.execute()
        now = int(time.time() * 1000)
        return [
            Entry(key, value, None if left == _NO_EXPIRY else now + left)
            for key, value, left in zip(keys, answers[::2], answers[1::2], strict=True)
            if value and left != _NO_SUCH_KEY
        ]

    async def put(self, entries: Sequence[Entry]) -> int:
        """Write `entries`, each with the end it had; answers how many had not expired meanwhile."""
        now = int(time.time() * 1000)
        living = [entry for entry in entries if entry.expires_at is None or entry.expires_at > now]
        async with guarded(), self._redis.pipeline(transaction=False) as pipeline:
            for entry in living:
                if isinstance(entry.value, str):
                    pipeline.set(entry.key, entry.value, pxat=entry.expires_at)
                    continue
                pipeline.delete(entry.key)
                pipeline.hset(entry.key, items=[part for pair in entry.value.items() for part in pair])
                if entry.expires_at is not None:
                    pipeline.pexpireat(entry.key, entry.expires_at)
            await pipeline.execute()
        return len(living)

    async def clear(self) -> None:
        """Forget everything of ours but what shuts somebody or something out. Other people's keys stay."""
        gone = (KEPT.keys() | FOUND_AGAIN | SHORT_LIVED) - SHUTS_OUT
        async with guarded():
            async for key in self._redis.scan_iter(count=1000):
                if family(str(key)) in gone:
                    await self._redis.delete(key)

    async def shut_out_now(self) -> frozenset[str]:
        """The keys that shut somebody or something out at this moment: a backup does not replace them."""
        async with guarded():
            return frozenset(
                [str(key) async for key in self._redis.scan_iter(count=1000) if family(str(key)) in SHUTS_OUT]
            )
