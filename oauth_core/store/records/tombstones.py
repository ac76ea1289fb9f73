"""Notes that something was ended, for a backup that is restored later: it must not come back.

A note lives as long as what it is about would have. Strangers can make and end grants and clients without end, so
notes of these live for `backup_days` at most. A backup that is older is not restored over what Redis has. In the
same way as cuts and blocks a note only takes rights away, so it bears no code. It is written by a script that
deletes first, so that a full Redis takes it (`oauth_core.store.keyspace`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis

# KEYS: note. ARGV: milliseconds.
_NOTE = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], '1', 'PX', ARGV[1])
"""
_NO_END = -1


async def note(redis: Redis, key: str, *, lives: int = keyspace.CUTOFF_LIFETIME * 1000) -> None:
    """Note at `key` that something was ended, for `lives` milliseconds. Raises `StoreUnavailableError`."""
    async with guarded():
        await redis.register_script(_NOTE)([key], [lives])


async def take_away(redis: Redis, key: str) -> int:
    """Delete `key`; answers for how many milliseconds a note must say so, 0 if nothing was there.

    The record goes before the note is written: if Redis refuses the note, the right has ended all the same.
    Raises `StoreUnavailableError`.
    """
    async with guarded():
        left = int(await redis.pttl(key))
        if not await redis.delete(key):
            return 0
    return keyspace.CUTOFF_LIFETIME * 1000 if left == _NO_END else max(1, left)
