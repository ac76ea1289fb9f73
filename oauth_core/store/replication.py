"""Whether what was just written would survive a fail-over: a replica has it, or nobody can say so.

`WAIT` speaks of what its own connection wrote, and clients have many. So a mark is written first: Redis hands its
writes on in their order, so whoever has the mark has everything that was acknowledged before it.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

from oauth_core.errors import StoreUnavailableError
from oauth_core.redis_address import Topology, read_redis_url
from oauth_core.store import keyspace
from oauth_core.store.connection import guarded, server_clients

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.settings import RedisSettings

_SHARE = 0.5
"""Of `redis_timeout`: `WAIT` must answer before the client gives up."""


async def is_replicated(redis: Redis, settings: RedisSettings) -> bool:
    """Whether a replica confirmed all that was written before, within half of `redis_timeout` for each primary.

    `redis` is the client that `settings` lead to. With one server nobody fails over, so there is nothing to wait
    for; the same holds for those primaries of a cluster to which no replica is attached. Never raises for what
    Redis does: who does not answer, or may not be asked, has confirmed nothing.
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


async def _is_cluster_followed(redis: Any, settings: RedisSettings) -> bool:
    await redis.initialize()
    connect = server_clients(settings)
    for node in redis.get_primaries():
        async with connect((node.host, node.port)) as primary:
            role: Any = await primary.execute_command("ROLE")  # type: ignore[no-untyped-call]
            marks = (f"{keyspace.REPLICATION_MARK}:{number}" for number in count())
            mark = next(mark for mark in marks if redis.get_node_from_key(mark) is node)
            if role[2] and not await _is_followed(primary, mark, settings.redis_timeout):
                return False
    return True


async def _is_followed(primary: Redis, mark: str, patience: float) -> bool:
    async with primary.pipeline(transaction=False) as pipeline:  # one connection for both
        pipeline.set(mark, "", ex=keyspace.REPLICATION_MARK_LIFETIME)
        pipeline.execute_command("WAIT", 1, int(patience * _SHARE * 1000))
        _, replicas = await pipeline.execute()
    return bool(replicas)
