"""The cache of a real Redis Cluster: revoked tokens stay refused through every fault of a node or a slot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from tests.service.client_cache.caches import (
    ADMIN_PASSWORD,
    USERS,
    answers_until,
    assert_never_passes_again,
    bring_to_life,
    cache_over,
    learned,
    revoke,
)
from tests.support.redis_groups import ClusterGroup, running_cluster, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def group() -> Iterator[ClusterGroup]:
    """A cluster for one test."""
    with running_cluster(password=ADMIN_PASSWORD, users=USERS) as nodes:
        yield nodes


def _slot(jti: str) -> int:
    return int(key_slot(keyspace.token(jti).encode()))


def _of_first(group: ClusterGroup, count: int) -> list[str]:
    """Names of tokens whose keys are on the first primary, the one with a replica."""
    first = group.owner_of(0)
    return [jti for n in range(1000) if group.owner_of(_slot(jti := f"first-{n}")) is first][:count]


async def test_tokens_of_every_node_are_cached_and_their_revocation_arrives(group: ClusterGroup) -> None:
    async with cache_over(group.url(user="check")) as cache:
        names = [f"token-{number}" for number in range(30)]
        assert len({id(group.owner_of(_slot(jti))) for jti in names}) == 3
        for jti in names:
            bring_to_life(group, jti)
            await learned(cache, jti)
        for jti in names:
            revoke(group, jti)
            assert_never_passes_again(await answers_until(cache, jti, TokenStatus.REVOKED))
        with group.owner_of(_slot("again")).client() as client:
            bring_to_life(group, "again")
            await learned(cache, "again")
            client.flushall()
        assert_never_passes_again(await answers_until(cache, "again", TokenStatus.REVOKED))


async def test_after_a_primary_is_killed_its_replica_is_used_and_other_nodes_answer_meanwhile(
    group: ClusterGroup,
) -> None:
    (lost,) = _of_first(group, 1)
    others = [jti for n in range(100) if group.owner_of(_slot(jti := f"other-{n}")) is not group.owner_of(0)]
    old = group.owner_of(0)
    bring_to_life(group, lost)
    bring_to_life(group, others[0])
    with old.client() as client:
        until(lambda: client.wait(1, 1000) == 1)
    async with cache_over(group.url(user="check")) as cache:
        await learned(cache, lost)
        await learned(cache, others[0])
        old.kill()
        await answers_until(cache, lost, TokenStatus.UNKNOWN)
        await answers_until(cache, others[0], TokenStatus.ACTIVE)
        await asyncio.to_thread(until, lambda: group.owner_of(0) is not old)
        await learned(cache, lost)
        with group.owner_of(_slot(lost)).client() as client:
            assert client.delete(keyspace.token(lost)) == 1
        answers = await answers_until(cache, lost, TokenStatus.REVOKED)
        assert_never_passes_again([answer for answer in answers if answer is not TokenStatus.UNKNOWN])


async def test_a_manual_failover_lets_no_revoked_token_pass(group: ClusterGroup) -> None:
    names = _of_first(group, 12)
    for jti in names:
        bring_to_life(group, jti)
    async with cache_over(group.url(user="check")) as cache:
        for jti in names:
            await learned(cache, jti)
        old, new = group.owner_of(0), group.replica_of_first()
        with new.client() as client:
            client.execute_command("CLUSTER FAILOVER")
        await asyncio.to_thread(until, lambda: group.owner_of(0) is new)
        with new.client() as client:
            for jti in names[::2]:
                assert client.delete(keyspace.token(jti)) == 1
        for jti in names[::2]:
            answers = await answers_until(cache, jti, TokenStatus.REVOKED)
            assert_never_passes_again([answer for answer in answers if answer is not TokenStatus.UNKNOWN])
        for jti in names[1::2]:
            await learned(cache, jti)
        assert old is not new


async def test_the_cache_drops_the_tokens_of_a_slot_that_moves_and_asks_the_new_owner(
    group: ClusterGroup,
) -> None:
    (jti,) = _of_first(group, 1)
    key, slot = keyspace.token(jti), _slot(jti)
    source, target = group.owner_of(0), group.owner_of(16383)
    source_id, target_id = (group.ids[group.port_of(server)] for server in (source, target))
    bring_to_life(group, jti)
    async with cache_over(group.url(user="check")) as cache:
        await learned(cache, jti)
        with source.client() as at_source, target.client() as at_target:
            at_target.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", source_id)
            at_source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target_id)
            moving: tuple[object, ...] = ("MIGRATE", "127.0.0.1", group.port_of(target), "", 0, 5000)
            at_source.execute_command(*moving, "AUTH", ADMIN_PASSWORD, "KEYS", key)
            # Neither node owns all of the slot now: clients are redirected.
            assert (await answers_until(cache, jti, TokenStatus.ACTIVE))[-1] is TokenStatus.ACTIVE
            for client in (at_target, at_source):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", target_id)
            await learned(cache, jti)
            assert at_target.delete(key) == 1
        answers = await answers_until(cache, jti, TokenStatus.REVOKED)
        assert_never_passes_again([answer for answer in answers if answer is not TokenStatus.UNKNOWN])


async def test_tokens_of_a_silent_node_are_unknown_and_of_an_empty_node_revoked(group: ClusterGroup) -> None:
    jti = next(j for n in range(100) if group.owner_of(_slot(j := f"last-{n}")) is group.owner_of(16383))
    last = group.owner_of(16383)
    bring_to_life(group, jti)
    async with cache_over(group.url(user="check")) as cache:
        await learned(cache, jti)
        last.pause()
        try:
            await answers_until(cache, jti, TokenStatus.UNKNOWN)
        finally:
            last.resume()
        await learned(cache, jti)
        last.kill()
        await answers_until(cache, jti, TokenStatus.UNKNOWN)
        last.start()
        answers = await answers_until(cache, jti, TokenStatus.REVOKED)
        assert TokenStatus.ACTIVE not in answers
