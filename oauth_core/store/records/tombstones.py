"""Tombstones: markers of deleted records, so that a restore of an older backup does not create them again.

A tombstone is kept as long as the record would have been. Any caller can create and end grants and clients, so
their tombstones are kept for at most `backup_days`. An older backup is not restored over the contents of Redis.
Like cutoffs and blocks, a tombstone only takes rights away, so it has no authentication code. The script
deletes the key before it sets it, so that a full Redis accepts the write (`oauth_core.store.keyspace`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: tombstone. ARGV: milliseconds, value.
_WRITE = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[1])
"""
_NO_END = -1


async def write(
    redis: Redis, key: str, *, lifetime_ms: int = keyspace.CUTOFF_LIFETIME * 1000, value: str = "1"
) -> None:
    """Write a tombstone at `key`, to be kept for `lifetime_ms` milliseconds. Raises `StoreUnavailableError`."""
    async with guarded():
        await redis.register_script(_WRITE)([key], [lifetime_ms, value])


async def delete_record(redis: Redis, key: str) -> int:
    """Delete `key`; returns the milliseconds for which its tombstone must be kept, 0 if there was no such key.

    The record is deleted before the tombstone is written: the right ends even if Redis refuses the tombstone.
    Raises `StoreUnavailableError`.
    """
    async with guarded():
        left = int(await redis.pttl(key))
        if not await redis.delete(key):
            return 0
    return keyspace.CUTOFF_LIFETIME * 1000 if left == _NO_END else max(1, left)
