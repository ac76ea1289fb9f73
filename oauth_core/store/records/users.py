"""The people who signed in here, as they were then, and the people whom an operator blocked.

A block does not expire. Its key is the GitHub id, which stays the same when a login changes hands. The account of
a listed login does not expire either: it is the first account seen with that login, until an operator names
another.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.model import Block, KnownUser
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec, SignedCodec
from oauth_core.store.connection import guarded
from oauth_core.store.records import tombstones
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.model import User

_KNOWN = SignedCodec(KnownUser)
_ACCOUNT = SignedCodec(int)
_BLOCK = Codec(Block)

# KEYS: block. ARGV: record. The first write needs no memory, so that a full Redis accepts the second.
_STORE_BLOCK = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], ARGV[1])
"""


class UserStore:
    """Stores people. `lifetime` is the seconds after the last sign-in for which a person's record is kept.

    Every method raises `StoreUnavailableError`.
    """

    def __init__(self, redis: Redis, key: RecordKey, *, lifetime: int) -> None:
        self._redis = redis
        self._key = key
        self._lifetime = lifetime

    async def record_user(self, known: KnownUser) -> None:
        """Record a sign-in."""
        async with guarded():
            redis_key = keyspace.user(known.user.github_id)
            await self._redis.set(redis_key, _KNOWN.dump(known, self._key, redis_key), ex=self._lifetime)

    async def get(self, github_id: int) -> KnownUser | None:
        """Return a person who signed in."""
        async with guarded():
            text = await self._redis.get(keyspace.user(github_id))
        return _KNOWN.load(text, self._key, keyspace.user(github_id))

    async def rename(self, user: User) -> None:
        """Record the new login or name of a person who signed in here."""
        known = await self.get(user.github_id)
        if known is not None and known.user != user:
            redis_key = keyspace.user(user.github_id)
            renamed = _KNOWN.dump(replace(known, user=user), self._key, redis_key)
            async with guarded():
                await self._redis.set(redis_key, renamed, xx=True, keepttl=True)

    async def account_of(self, login: str, *, first_seen: int | None) -> int | None:
        """Return the account of a listed login, in lower case; `first_seen` becomes it if there is none.

        For a record that another party wrote it returns 0, which is no account.
        """
        redis_key = keyspace.login(login)
        async with guarded():
            if first_seen is not None:
                await self._redis.set(redis_key, _ACCOUNT.dump(first_seen, self._key, redis_key), nx=True)
            found = await self._redis.get(redis_key)
        return None if found is None else _ACCOUNT.load(found, self._key, redis_key) or 0

    async def accept_account(self, login: str, github_id: int) -> None:
        """Make this the account of a login, in lower case, from now on."""
        redis_key = keyspace.login(login)
        async with guarded():
            await self._redis.set(redis_key, _ACCOUNT.dump(github_id, self._key, redis_key))

    async def all(self) -> list[KnownUser]:
        """Return all people who signed in, by login. For operators: it reads the records one by one."""
        keys = [key async for key in scan(self._redis, keyspace.ALL_USERS)]
        async with guarded():
            found = [_KNOWN.load(await self._redis.get(key), self._key, key) for key in keys]
        by_id = {known.user.github_id: known for known in found if known}  # a scan may return a key twice
        return sorted(by_id.values(), key=lambda known: (known.user.login.lower(), known.user.github_id))

    async def erase(self, github_id: int) -> None:
        """Remove the record of a person's last sign-in. A block stays.

        A tombstone keeps older backups from bringing the person back. Call it before other records are erased.
        """
        erased_at = str(int(time.time()))
        await tombstones.write(self._redis, keyspace.ended_person(github_id), value=erased_at)
        async with guarded():
            await self._redis.delete(keyspace.user(github_id))

    async def unblock(self, github_id: int) -> bool:
        """End a block. Returns whether the person was blocked."""
        async with guarded():
            return bool(await self._redis.delete(keyspace.block(github_id)))

    async def block_of(self, github_id: int) -> Block | None:
        """Return the block of a person, if there is one."""
        async with guarded():
            text = await self._redis.get(keyspace.block(github_id))
        return None if text is None else _BLOCK.load(text)

    async def blocks(self) -> list[Block]:
        """Return all blocks, the oldest first."""
        keys = {key async for key in scan(self._redis, keyspace.ALL_BLOCKS)}
        async with guarded():
            texts = [await self._redis.get(key) for key in keys]
        return sorted((_BLOCK.load(text) for text in texts if text is not None), key=lambda block: block.since)


async def store_block(redis: Redis, block: Block) -> None:
    """Block a person. The caller ends the person's grants afterwards. Raises `StoreUnavailableError`."""
    async with guarded():
        await redis.register_script(_STORE_BLOCK)([keyspace.block(block.github_id)], [_BLOCK.dump(block)])
