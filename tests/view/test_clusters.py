"""The view of a real Redis Cluster: whatever happens to a node or a slot, what was revoked stays refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from oauth_core.policy import Liveness
from oauth_core.store import keyspace
from tests.support.redis_groups import ClusterGroup, running_cluster, until
from tests.view.conftest import (
    ADMIN_PASSWORD,
    USERS,
    answers_until,
    bring_to_life,
    learned,
    revoke,
    view_over,
)
from tests.view.test_faults import assert_never_passes_again

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def group() -> Iterator[ClusterGroup]:
    """A cluster of the test's own."""
    with running_cluster(password=ADMIN_PASSWORD, users=USERS) as nodes:
        yield nodes


def _slot(jti: str) -> int:
    return int(key_slot(keyspace.token(jti).encode()))


def _of_first(group: ClusterGroup, count: int) -> list[str]:
    """Names of tokens of which the first primary, the one with a replica, keeps the keys."""
    first = group.owner_of(0)
    return [jti for n in range(1000) if group.owner_of(_slot(jti := f"first-{n}")) is first][:count]


async def test_tokens_of_every_node_are_known_without_asking_and_their_end_is_told(group: ClusterGroup) -> None:
    async with view_over(group.url(user="check")) as view:
        names = [f"token-{number}" for number in range(30)]
        assert len({id(group.owner_of(_slot(jti))) for jti in names}) == 3
        for jti in names:
            bring_to_life(group, jti)
            await learned(view, jti)
        for jti in names:
            revoke(group, jti)
            assert_never_passes_again(await answers_until(view, jti, Liveness.REVOKED))
        with group.owner_of(_slot("again")).client() as client:
            bring_to_life(group, "again")
            await learned(view, "again")
            client.flushall()
        assert_never_passes_again(await answers_until(view, "again", Liveness.REVOKED))


async def test_a_primary_that_is_killed_is_followed_to_its_replica_and_the_others_answer_meanwhile(
    group: ClusterGroup,
) -> None:
    (lost,) = _of_first(group, 1)
    others = [jti for n in range(100) if group.owner_of(_slot(jti := f"other-{n}")) is not group.owner_of(0)]
    old = group.owner_of(0)
    bring_to_life(group, lost)
    bring_to_life(group, others[0])
    with old.client() as client:
        until(lambda: client.wait(1, 1000) == 1)
    async with view_over(group.url(user="check")) as view:
        await learned(view, lost)
        await learned(view, others[0])
        old.kill()
        await answers_until(view, lost, Liveness.UNKNOWN)
        await answers_until(view, others[0], Liveness.ACTIVE)
        await asyncio.to_thread(until, lambda: group.owner_of(0) is not old)
        await learned(view, lost)
        with group.owner_of(_slot(lost)).client() as client:
            assert client.delete(keyspace.token(lost)) == 1
        answers = await answers_until(view, lost, Liveness.REVOKED)
        assert_never_passes_again([answer for answer in answers if answer is not Liveness.UNKNOWN])
