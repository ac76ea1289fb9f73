"""The faults of `test_faults.py` on the way to one of several servers, behind Sentinels and in a cluster.

The servers work all the time, and there is no failover: only this process cannot reach one of them. So all
tests share the servers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.crc import key_slot

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from tests.service.client_cache.caches import (
    ADMIN_PASSWORD,
    BOUND,
    USERS,
    answers_until,
    assert_never_passes_again,
    bring_to_life,
    cache_over,
    connected_after,
    eventually,
    learned,
    more_answers,
    revoke,
)
from tests.service.client_cache.proxy import bad_connections
from tests.support.redis_groups import ClusterGroup, SentinelGroup, running_cluster, running_sentinels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.store.client_cache.client_cache import ClientCache
    from tests.service.client_cache.proxy import Proxy
    from tests.support.redis_server import RedisServer

Group = SentinelGroup | ClusterGroup


@pytest.fixture(scope="module", params=[running_sentinels, running_cluster], ids=["sentinels", "cluster"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """Several servers, which each test leaves unchanged."""
    with request.param(password=ADMIN_PASSWORD, users=USERS) as servers:
        yield servers


@pytest.fixture
def jti(group: Group, request: pytest.FixtureRequest) -> str:
    """An active token for one test."""
    name = request.node.name
    bring_to_life(group, name)
    return str(name)


def ports(group: Group) -> dict[int, RedisServer]:
    """Every server by its port."""
    return group.servers if isinstance(group, SentinelGroup) else group.nodes


def port_of(group: Group, jti: str) -> int:
    """Where the key of the token is."""
    if isinstance(group, SentinelGroup):
        owner = group.primary()
    else:
        owner = group.owner_of(int(key_slot(keyspace.token(jti).encode())))
    return next(port for port, server in ports(group).items() if server is owner)


def swallow(proxy: Proxy, *ways: str) -> None:
    """Drop all data that the present connections carry in these directions."""
    for connection in proxy.connections:
        for way in ways:
            getattr(connection, way).is_swallowing = True


async def refused_for_good(cache: ClientCache, jti: str) -> None:
    """Assert that the token is refused, perhaps after unknown, and never passes again."""
    assert_never_passes_again(
        await answers_until(cache, jti, TokenStatus.REVOKED) + await more_answers(cache, jti)
    )


@pytest.mark.parametrize("ways", [("to_client",), ("to_redis",), ("to_client", "to_redis")])
async def test_a_revoked_token_is_refused_by_asking_elsewhere_when_a_connection_is_half_open(
    group: Group, jti: str, ways: tuple[str, ...]
) -> None:
    async with bad_connections(ports(group)) as proxies, cache_over(group.url(user="check")) as cache:
        await learned(cache, jti)
        swallow(proxies[port_of(group, jti)], *ways)
        revoke(group, jti)
        await refused_for_good(cache, jti)
        bring_to_life(group, jti)
        await learned(cache, jti)


async def test_tokens_are_unknown_while_the_only_server_that_counts_is_unreachable_and_refused_afterwards(
    group: Group, jti: str
) -> None:
    async with bad_connections(ports(group)) as proxies, cache_over(group.url(user="check")) as cache:
        await learned(cache, jti)
        proxy = proxies[port_of(group, jti)]
        proxy.is_swallowing = True
        swallow(proxy, "to_client", "to_redis")
        revoke(group, jti)
        answers = await answers_until(cache, jti, TokenStatus.UNKNOWN) + await more_answers(cache, jti)
        assert_never_passes_again(answers)
        assert not cache.is_connected
        proxy.is_swallowing = False
        assert TokenStatus.ACTIVE not in await answers_until(cache, jti, TokenStatus.REVOKED)
        await eventually(lambda: cache.is_connected)


async def test_connections_that_are_slow_but_within_the_bound_are_used(group: Group, jti: str) -> None:
    async with bad_connections(ports(group)) as proxies:
        for proxy in proxies.values():
            proxy.delay = BOUND / 40
        async with cache_over(group.url(user="check")) as cache:
            await learned(cache, jti)
            revoke(group, jti)
            await refused_for_good(cache, jti)


async def test_an_answer_later_than_the_bound_is_not_used(group: Group, jti: str) -> None:
    async with bad_connections(ports(group)) as proxies, cache_over(group.url(user="check")) as cache:
        await learned(cache, jti)
        proxy = proxies[port_of(group, jti)]
        proxy.delay = BOUND * 1.5
        for connection in proxy.connections:
            connection.to_client.delay = BOUND * 1.5
        revoke(group, jti)
        answers = await answers_until(cache, jti, TokenStatus.UNKNOWN) + await more_answers(cache, jti)
        assert_never_passes_again(answers)
        proxy.delay = 0
        await refused_for_good(cache, jti)


async def test_killed_and_cut_connections_are_replaced_and_no_revocation_is_missed(group: Group, jti: str) -> None:
    async with bad_connections(ports(group)) as proxies, cache_over(group.url(user="check")) as cache:
        for turn in range(4):
            await learned(cache, jti)
            before = cache.counts.connections
            if turn % 2:
                await proxies[port_of(group, jti)].stop()
            else:
                with ports(group)[port_of(group, jti)].client() as client:
                    for connection in client.client_list():
                        if connection["user"] == "check":
                            client.client_kill_filter(_id=connection["id"])
            revoke(group, jti)
            assert_never_passes_again(await answers_until(cache, jti, TokenStatus.REVOKED))
            await connected_after(cache, before)
            bring_to_life(group, jti)


async def test_random_faults_never_let_a_revoked_token_pass_again(group: Group) -> None:
    """Revoke tokens of all servers one by one while the connection to their server is delayed, dropped or cut."""
    async with bad_connections(ports(group)) as proxies, cache_over(group.url(user="check")) as cache:
        for turn in range(9):
            jti = f"trouble-{turn}"
            bring_to_life(group, jti)
            await learned(cache, jti)
            proxy = proxies[port_of(group, jti)]
            match turn % 3:
                case 0:
                    swallow(proxy, "to_client")
                case 1:
                    for connection in proxy.connections:
                        # With a delay close to the bound, servers could not be asked again in time.
                        connection.to_client.delay = BOUND / 10
                case 2:
                    await proxy.stop()
            revoke(group, jti)
            answers = await answers_until(cache, jti, TokenStatus.REVOKED)
            answers += [await cache.token_status(jti) for _ in range(20)]
            assert_never_passes_again(answers)
            for connection in proxy.connections:
                connection.to_client.delay = 0.0
