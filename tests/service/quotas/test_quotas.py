"""The totals of records that unauthenticated callers cause, in a real Redis: shares, refusals, and that no total
drifts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from oauth_core.errors import DisplayedError
from oauth_core.limits.quotas import FOR_A_NEWCOMER, SHARE, Stored
from oauth_core.store.memory import MemoryReader
from oauth_core.store.records.quotas import QuotaStore
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.support.redis_server import RedisServer

MOST = 4_000_000
SIZE = 4000 - 250
"""Together with the overhead of Redis, a thousandth of the limit. A new caller may use two."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with running_redis(users={"blind": ["on", "nopass", "~*", "+@all", "-info"]}) as server:
        yield server


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(unix_socket_path=str(server.socket), decode_responses=True) as redis:
        await redis.flushall()
        await redis.config_set("maxmemory", 0)
        yield redis


class Quotas:
    """A store that notes its refusals."""

    def __init__(self, redis: Redis, *, reserve: float = 0.2) -> None:
        self.refused: list[Stored] = []
        self.store = QuotaStore(
            redis,
            MemoryReader(redis, refused=lambda: None),
            bytes_of=dict.fromkeys(Stored, MOST),
            reserve=reserve,
            refused=self.refused.append,
        )

    async def status(self, caller: str, *, kind: Stored = Stored.SIGN_INS, lifetime: int = 600) -> int:
        """The status for a caller whose request causes a record of `SIZE`."""
        try:
            await self.store.take(kind, SIZE, lifetime=lifetime, caller=caller)
        except DisplayedError as error:
            return error.status if error.retry_after else 0
        return 200

    async def filled(self, caller: str) -> int:
        """The number of records that `caller` got until it was refused."""
        count = 0
        while await self.status(caller) == 200:
            count += 1
        return count


async def test_one_caller_gets_an_eighteenth_and_is_the_only_one_refused(redis: Redis) -> None:
    quotas = Quotas(redis)
    assert await quotas.filled("greedy") == 1000 // (2 * (SHARE + 1))
    assert await quotas.status("greedy") == 429
    assert await quotas.status("other") == 200
    assert quotas.refused == [Stored.SIGN_INS] * 2
    # Kinds are counted apart.
    assert await quotas.status("greedy", kind=Stored.DEVICE_CODES) == 200


@pytest.mark.parametrize("hostile", [1, 10, 200])
async def test_a_new_caller_has_room_while_others_use_all_they_can(redis: Redis, hostile: int) -> None:
    quotas = Quotas(redis)
    for _ in range(2):
        for number in range(hostile):
            await quotas.filled(f"hostile {number}")
    assert await quotas.filled("newcomer") >= FOR_A_NEWCOMER // 4000


async def test_when_the_total_is_reached_every_caller_gets_503(redis: Redis) -> None:
    quotas = Quotas(redis)
    for number in range(600):
        await quotas.filled(f"hostile {number}")
    total = (await quotas.store.totals())[Stored.SIGN_INS]
    assert MOST - 4000 < total <= MOST
    assert await quotas.status("newcomer") == 503
    assert await quotas.status("hostile 1") == 503


async def test_expired_records_leave_the_totals(redis: Redis) -> None:
    quotas = Quotas(redis)
    await quotas.filled("greedy")
    # As if the records had been written long ago, so that the test does not wait.
    for key in await redis.keys("stored:*"):
        fields = await redis.hgetall(key)
        await redis.delete(key)
        await redis.hset(key, mapping={str(int(ends) - 3600): size for ends, size in fields.items()})
    assert (await quotas.store.totals())[Stored.SIGN_INS] == 0
    assert await quotas.status("greedy") == 200
    assert all([await redis.hlen(key) == 1 for key in await redis.keys("stored:*")])


async def test_the_totals_expire_with_the_longest_record_that_they_count(redis: Redis) -> None:
    quotas = Quotas(redis)
    for lifetime in (600, 60, 3600, 5):
        await quotas.status("somebody", lifetime=lifetime)
    for key in await redis.keys("stored:*"):
        assert 3500 < await redis.ttl(key) <= 3660
        assert await redis.hlen(key) <= 4


async def test_missing_or_unreadable_totals_refuse_no_caller(redis: Redis) -> None:
    quotas = Quotas(redis)
    await quotas.filled("greedy")
    await redis.flushall()
    assert await quotas.status("greedy") == 200
    await redis.flushall()
    await redis.set("stored:{sign_ins}", "not a hash")
    assert await quotas.status("greedy") == 200


async def test_in_a_nearly_full_redis_registration_is_refused_before_sign_ins(redis: Redis) -> None:
    """Assertions are never refused for this reason: clients need them in order to refresh."""
    used = int((await redis.info("memory"))["used_memory"])
    for free, registers, signs_in in ((0.5, 200, 200), (0.15, 503, 200), (0.05, 503, 503)):
        await redis.config_set("maxmemory", int(used / (1 - free)))
        quotas = Quotas(redis, reserve=0.2)
        assert await quotas.status("somebody", kind=Stored.REGISTRATIONS) == registers
        assert await quotas.status("somebody", kind=Stored.CLIENT_DOCUMENTS) == registers
        assert await quotas.status("somebody", kind=Stored.SIGN_INS) == signs_in
        assert await quotas.status("somebody", kind=Stored.DEVICE_CODES) == signs_in
        assert await quotas.status("somebody", kind=Stored.ASSERTIONS) == 200
    await redis.config_set("maxmemory", 0)


async def test_without_the_right_to_read_memory_usage_only_the_totals_count(
    server: RedisServer, redis: Redis
) -> None:
    await redis.config_set("maxmemory", 1)
    try:
        url = f"unix://blind@{server.socket}"
        async with Redis.from_url(url, decode_responses=True) as blind:
            told: list[None] = []
            reader = MemoryReader(blind, refused=lambda: told.append(None))
            assert (await reader.read()).free_share == 1
            assert len(told) == 1
    finally:
        await redis.config_set("maxmemory", 0)
