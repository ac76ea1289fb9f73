"""Cuts: up to which second what was allowed to a person, to a client or to everybody is void."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.store import clock, keyspace
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from redis.asyncio import Redis


async def make(redis: Redis, key: str) -> None:
    """Void what was allowed up to this second. Raises `StoreUnavailableError`.

    Redis says which second it is: by a clock that is behind, what was allowed a moment ago would escape.
    """
    now = int(await clock.seconds(redis))
    async with guarded():
        await redis.set(key, now, ex=keyspace.CUT_LIFETIME)


async def reach(redis: Redis, *, at: int, github_id: int | None = None, client_id: str | None = None) -> bool:
    """Whether what was allowed `at` that second is void, of that person and that client.

    Raises `StoreUnavailableError`.
    """
    keys = [keyspace.CUT_OF_ALL]
    if client_id is not None:
        keys.append(keyspace.cut_of_client(client_id))
    if github_id is not None:
        keys.append(keyspace.cut_of_user(github_id))
    async with guarded():
        cuts = [await redis.get(key) for key in keys]  # one by one: they lie on different nodes
    return any(cut is not None and at <= int(cut) for cut in cuts)
