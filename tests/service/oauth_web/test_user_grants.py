"""A person's grants are found by the person's id, so that the person and an operator can see and
end all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.model import Grant, User
from oauth_core.store import keyspace
from oauth_core.store.records.grants import GrantStore
from tests.support.master_key import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from redis.asyncio import Redis

    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer

_LATER = 4_000_000_000
_ANNA, _BERT = User(101, "anna"), User(102, "bert")


@pytest.fixture
async def redis(redis: Redis) -> AsyncIterator[Redis]:
    """The shared one, in which the two people have no grants afterwards."""
    yield redis
    await redis.delete(*(keyspace.user_grants(user.github_id) for user in (_ANNA, _BERT)))


def _grant(name: str, user: User | None, *, created_at: int, expires_at: int = _LATER) -> Grant:
    return Grant(name, "client", ("mcp.time",), ("https://a.example/mcp",), created_at, expires_at, user)


async def test_a_grant_is_found_by_its_person_until_it_ends(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    registration = await client.register()
    await client.tokens(registration.client_id)
    store = GrantStore(redis, RECORD_KEY)
    with web.redis.client() as blocking:
        keys = blocking.keys("user-grants:*")
    found = [grant for key in keys for grant in await store.of_user(int(str(key).rpartition(":")[2]))]
    ours = [grant for grant in found if grant.client_id == registration.client_id]
    assert [grant.user.login for grant in ours if grant.user] == ["octocat"]
    assert ours[0].user is not None
    await store.end(ours[0].grant_id)
    assert ours[0] not in await store.of_user(ours[0].user.github_id)
    assert await redis.zscore(keyspace.user_grants(ours[0].user.github_id), ours[0].grant_id) is None


async def test_grants_of_people_and_of_machine_clients_are_kept_apart(redis: Redis) -> None:
    store = GrantStore(redis, RECORD_KEY)
    younger, older = _grant("a1", _ANNA, created_at=20), _grant("a2", _ANNA, created_at=10)
    other, machine = _grant("b1", _BERT, created_at=10), _grant("m1", None, created_at=10)
    for grant in (younger, older, other, machine):
        await store.create(grant, None)
    assert await store.of_user(_ANNA.github_id) == (older, younger)
    assert await store.of_user(_BERT.github_id) == (other,)
    for grant in (younger, older, other, machine):
        assert await store.end(grant.grant_id)
    assert await store.of_user(_ANNA.github_id) == ()


async def test_the_index_is_kept_as_long_as_its_longest_grant_and_drops_expired_ones(redis: Redis) -> None:
    store = GrantStore(redis, RECORD_KEY)
    await store.create(_grant("long", _ANNA, created_at=10), None)
    await store.create(_grant("short", _ANNA, created_at=10, expires_at=_LATER - 1000), None)
    key = keyspace.user_grants(_ANNA.github_id)
    assert await redis.ttl(key) > _LATER - 2_000_000_000 - 2000
    await redis.zadd(key, {"expired": 5})
    await store.create(_grant("third", _ANNA, created_at=11), None)
    assert await redis.zrange(key, 0, -1) == ["short", "long", "third"]
    for name in ("long", "short", "third"):
        await store.end(name)
