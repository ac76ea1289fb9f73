"""Quotas in a cluster: counted on one node, on whatever node the records are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.asyncio import RedisCluster

from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import DisplayedError
from oauth_core.limits.quotas import Stored
from oauth_core.store import keyspace
from oauth_core.store.memory import MemoryReader
from oauth_core.store.records.quotas import QuotaStore
from tests.support.redis_groups import running_cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.redis_groups import ClusterGroup

PASSWORD = "password-of-tests"
LIMIT = 1_000_000_000


@pytest.fixture(scope="module")
def group() -> Iterator[ClusterGroup]:
    with running_cluster(password=PASSWORD) as group:
        yield group


@pytest.fixture
async def redis(group: ClusterGroup) -> AsyncIterator[RedisCluster]:
    port = next(iter(group.nodes))
    redis = RedisCluster(host="127.0.0.1", port=port, password=PASSWORD, decode_responses=True)
    await redis.initialize()
    yield redis
    await redis.aclose()


def quotas(redis: RedisCluster, *, most: int = 1_000_000) -> QuotaStore:
    return QuotaStore(
        redis,  # type: ignore[arg-type] # the same commands
        MemoryReader(redis, refused=lambda: None),  # type: ignore[arg-type]
        bytes_of=dict.fromkeys(Stored, most),
        reserve=0.2,
        refused=lambda _: None,
    )


async def test_counting_is_one_step_on_one_node(redis: RedisCluster) -> None:
    store = quotas(redis)
    for caller in range(20):
        await store.take(Stored.SIGN_INS, 5000, lifetime=600, caller=str(caller))
    assert (await store.totals())[Stored.SIGN_INS] > 20 * 5000
    slots = {redis.keyslot(keyspace.stored_by("sign_ins", hash_secret(str(caller)))) for caller in range(20)}
    assert slots == {redis.keyslot(keyspace.stored("sign_ins"))}


async def test_the_node_with_the_least_free_memory_counts(redis: RedisCluster) -> None:
    nodes = redis.get_primaries()
    for node in nodes:
        await redis.config_set("maxmemory", LIMIT, target_nodes=node)
    try:
        used = int((await redis.info("memory", target_nodes=nodes[1]))["used_memory"])
        await redis.config_set("maxmemory", int(used / 0.95), target_nodes=nodes[1])
        memory = await MemoryReader(redis, refused=lambda: None).read()  # type: ignore[arg-type]
        assert memory.most < LIMIT
        assert memory.free_share < 0.2
        with pytest.raises(DisplayedError) as caught:
            await quotas(redis).take(Stored.REGISTRATIONS, 500, lifetime=600, caller="anybody")
        assert caught.value.status == 503
    finally:
        for node in nodes:
            await redis.config_set("maxmemory", 0, target_nodes=node)
