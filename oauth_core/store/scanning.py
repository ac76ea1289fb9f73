"""Iterates over the keys of every server: an unreachable server does not hide the keys of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oauth_core.errors import StoreUnavailableError
from oauth_core.store.connection import guarded, is_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

_AT_ONCE = 1000


async def scan(redis: Redis, match: str | None = None) -> AsyncIterator[str]:
    """Yield the keys that match. One may come twice; one that is created or deleted meanwhile may be missing.

    Raises `StoreUnavailableError` after the last key if a server could not return all of its keys.
    """
    cluster: Any = redis
    if not is_cluster(redis):
        async with guarded(is_measured=False):
            async for key in redis.scan_iter(match=match, count=_AT_ONCE):
                yield str(key)
        return
    away: list[str] = []
    async with guarded():
        await cluster.initialize()
    for node in cluster.get_primaries():
        try:
            async with guarded(is_measured=False):
                async for key in cluster.scan_iter(match=match, count=_AT_ONCE, target_nodes=node):
                    yield str(key)
        except StoreUnavailableError as error:
            away.append(f"{node.name}: {error}")
    if away:
        raise StoreUnavailableError(f"not every server could be asked: {'; '.join(away)}")
