"""Revocation cutoffs: the second up to which rights of a person, of a client or of all people are void.

A cutoff is kept for the longest lifetime of a grant, so that a revoked grant in a restored backup is still
refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.errors import StoreUnavailableError
from oauth_core.store import clock, keyspace
from oauth_core.store.connection import guarded
from oauth_core.store.scanning import scan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

    from oauth_core.model import Grant

# KEYS: cutoff. ARGV: second, its lifetime. Of two cutoffs the later one is kept, and the later of their ends. The
# first write needs no memory, so that a Redis at its maxmemory accepts the second (`oauth_core.store.keyspace`).
_SET = """
local before = tonumber(redis.call('GET', KEYS[1]) or '0')
local lifetime = math.max(redis.call('TTL', KEYS[1]), tonumber(ARGV[2]))
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], math.max(before, tonumber(ARGV[1])), 'EX', lifetime)
return 1
"""


async def set_cutoff(redis: Redis, key: str, *, lifetime: int = keyspace.CUTOFF_LIFETIME) -> None:
    """Void everything that was allowed up to this second, for `lifetime` seconds. Raises `StoreUnavailableError`.

    The second comes from the clock of Redis: with a clock that is behind, the latest grants would escape.
    """
    try:
        now = await clock.seconds(redis)
    except StoreUnavailableError:
        # In a cluster the node that gives the time may be unreachable. The clock of the cutoff's own node is
        # nearly the same.
        now = await clock.seconds(redis, asked_of=key)
    async with guarded():
        await redis.register_script(_SET)([key], [int(now), lifetime])


async def is_cut_off(redis: Redis, *, at: int, github_id: int | None = None, client_id: str | None = None) -> bool:
    """Return whether rights that were allowed `at` that second are void, for that person and that client.

    Without a client the answer is about the person: disconnecting clients does not end a person's sessions. Raises
    `StoreUnavailableError`.
    """
    async with guarded():
        # One by one: they are on different nodes.
        cutoffs = [await redis.get(key) for key in _keys(github_id, client_id)]
    return any(cutoff is not None and at <= int(cutoff) for cutoff in cutoffs)


async def is_cut_off_at(redis: Redis, key: str, *, at: int) -> bool:
    """Return whether the cutoff at `key` voids rights allowed `at` that second. Raises `StoreUnavailableError`."""
    async with guarded():
        cutoff = await redis.get(key)
    return cutoff is not None and at <= int(cutoff)


async def last_of_everything(redis: Redis) -> int | None:
    """Return the second of the last revocation of everything, if there was one. Raises `StoreUnavailableError`."""
    async with guarded():
        cutoff = await redis.get(keyspace.CUTOFF_OF_ALL)
    return None if cutoff is None else int(cutoff)


async def all_cutoffs(redis: Redis) -> Mapping[str, int]:
    """Return all cutoffs by key, for questions about many grants. Raises `StoreUnavailableError`."""
    found: dict[str, int] = {}
    async for key in scan(redis, keyspace.ALL_CUTOFFS):
        async with guarded():
            cutoff = await redis.get(key)
        if cutoff is not None:
            found[key] = int(cutoff)
    return found


def is_cut_off_by(cutoffs: Mapping[str, int], grant: Grant) -> bool:
    """Return whether one of these cutoffs is at the second at which `grant` began, or later."""
    github_id = None if grant.user is None else grant.user.github_id
    return any(grant.created_at <= cutoffs.get(key, 0) for key in _keys(github_id, grant.client_id))


def _keys(github_id: int | None, client_id: str | None) -> list[str]:
    keys = [keyspace.CUTOFF_OF_ALL]
    if client_id is not None:
        keys.append(keyspace.cutoff_of_client(client_id))
    if github_id is not None:
        keys.append(keyspace.cutoff_of_user(github_id))
    if client_id is not None and github_id is not None:
        keys.append(keyspace.cutoff_of_clients_of(github_id))
    return keys
