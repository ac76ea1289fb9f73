"""Whether the latest writes would survive a fail-over: True only if a replica confirmed them.

`WAIT` covers only writes of its own connection, and clients have many. So a mark is written first: Redis
replicates writes in order, so a replica with the mark has every write that was acknowledged before it.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

from oauth_core.errors import StoreUnavailableError
from oauth_core.net.redis_address import Topology, read_redis_url
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded, server_clients

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from oauth_core.settings import RedisSettings

_MARK = """
redis.call('DEL', KEYS[1])
return redis.call('SET', KEYS[1], '', 'EX', ARGV[1])
"""
_SHARE = 0.5
"""The share of `redis.timeout`: `WAIT` must answer before the client gives up."""


async def is_replicated(redis: Redis, settings: RedisSettings) -> bool:
    """Return whether a replica confirmed all earlier writes, within half of `redis.timeout` for each primary.

    `redis` is a client for `settings`. With one server there is no fail-over, so there is nothing to wait for; the
    same holds for primaries of a cluster without a replica. Never raises for a failure of Redis: a server that
    does not answer, or may not be asked, has confirmed no write.
    """
    topology = read_redis_url(settings.redis_url).topology
    try:
        async with guarded():
            if topology is Topology.ONE:
                return True
            if topology is Topology.SENTINEL:
                return await _is_followed(redis, keyspace.REPLICATION_MARK, settings.redis_timeout)
            return await _is_cluster_followed(redis, settings)
    except StoreUnavailableError:
        return False


async def _is_cluster_followed(redis: Redis, settings: RedisSettings) -> bool:
    async with servers(redis, settings) as found:
        for primary, mark in found:
            role: Any = await primary.execute_command("ROLE")  # type: ignore[no-untyped-call]
            if role[2] and not await _is_followed(primary, mark, settings.redis_timeout):
                return False
    return True


@asynccontextmanager
async def servers(redis: Any, settings: RedisSettings) -> AsyncIterator[list[tuple[Redis, str]]]:
    """Yield every server that receives writes, each with a key that it stores and that has no meaning.

    Raises `StoreUnavailableError` when no server can be found.
    """
    if read_redis_url(settings.redis_url).topology is not Topology.CLUSTER:
        yield [(redis, keyspace.REPLICATION_MARK)]
        return
    async with guarded():
        await redis.initialize()
    connect = server_clients(settings)
    async with AsyncExitStack() as stack:
        found = []
        for node in redis.get_primaries():
            primary = await stack.enter_async_context(connect((node.host, node.port)))
            marks = (f"{keyspace.REPLICATION_MARK}:{number}" for number in count())
            found.append((primary, next(mark for mark in marks if redis.get_node_from_key(mark) is node)))
        yield found


async def _is_followed(primary: Redis, mark: str, patience: float) -> bool:
    async with primary.pipeline(transaction=False) as pipeline:  # one connection for both
        # A script that deletes first, so that a full Redis accepts it (`oauth_core.store.keyspace`).
        pipeline.eval(_MARK, 1, mark, keyspace.REPLICATION_MARK_LIFETIME)
        pipeline.execute_command("WAIT", 1, int(patience * _SHARE * 1000))
        _, replicas = await pipeline.execute()
    return bool(replicas)
