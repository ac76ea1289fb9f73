"""The cache of servers behind real Sentinels: revoked tokens stay refused through every fault of a server or a
Sentinel.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from tests.service.client_cache.caches import (
    ADMIN_PASSWORD,
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
from tests.support.redis_groups import SentinelGroup, running_sentinels, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def group() -> Iterator[SentinelGroup]:
    """Two servers and three Sentinels for one test, in which the token `live` is active."""
    with running_sentinels(password=ADMIN_PASSWORD, users=USERS) as servers:
        bring_to_life(servers, "live")
        _replicated(servers)
        yield servers


def _replicated(group: SentinelGroup) -> None:
    with group.client() as client:
        client.set("written", "all")
        assert client.wait(1, 60_000) == 1


def _url(group: SentinelGroup) -> str:
    return group.url(user="check")


async def test_after_a_primary_is_killed_its_successor_is_used(group: SentinelGroup) -> None:
    async with cache_over(_url(group)) as cache:
        await learned(cache, "live")
        old = group.primary()
        old.kill()
        await answers_until(cache, "live", TokenStatus.UNKNOWN)
        await asyncio.to_thread(group.wait_for_failover, old)
        revoke(group, "live")
        answers = await answers_until(cache, "live", TokenStatus.REVOKED)
        assert_never_passes_again([a for a in answers if a is not TokenStatus.UNKNOWN])
        bring_to_life(group, "live")
        await learned(cache, "live")


async def test_a_former_primary_that_was_frozen_during_the_failover_is_not_used(group: SentinelGroup) -> None:
    """It still reports itself as a primary, and has every token that was revoked meanwhile."""
    async with cache_over(_url(group)) as cache:
        await learned(cache, "live")
        old = group.primary()
        old.pause()
        try:
            await asyncio.to_thread(group.wait_for_failover, old)
            revoke(group, "live")
            await answers_until(cache, "live", TokenStatus.REVOKED)
        finally:
            old.resume()
        with old.client() as client:
            assert client.exists(keyspace.token("live")), "the old server does not have the revocation"
        assert TokenStatus.ACTIVE not in await more_answers(cache, "live")


async def test_a_primary_that_only_a_minority_of_the_sentinels_confirms_is_not_trusted(
    group: SentinelGroup,
) -> None:
    """A process that is cut off together with the primary sees this."""
    async with cache_over(_url(group)) as cache:
        await learned(cache, "live")
        first, second, _ = group.sentinels.values()
        first.kill()
        await learned(cache, "live")
        second.pause()
        try:
            await answers_until(cache, "live", TokenStatus.UNKNOWN)
            assert set(await more_answers(cache, "live")) == {TokenStatus.UNKNOWN}
            assert not cache.is_connected
        finally:
            second.resume()
        await learned(cache, "live")


async def test_a_server_that_does_not_report_itself_as_the_primary_is_not_used(group: SentinelGroup) -> None:
    async with cache_over(_url(group)) as cache:
        await learned(cache, "live")
        for sentinel in group.sentinels.values():
            sentinel.pause()
        try:
            await answers_until(cache, "live", TokenStatus.UNKNOWN)
        finally:
            for sentinel in group.sentinels.values():
                sentinel.resume()
        await learned(cache, "live")
        other = next(iter(group.servers.keys() - {_port_of_primary(group)}))
        with group.client() as client:
            client.execute_command("REPLICAOF", "127.0.0.1", other)
        await answers_until(cache, "live", TokenStatus.UNKNOWN)


def _port_of_primary(group: SentinelGroup) -> int:
    primary = group.primary()
    return next(port for port, server in group.servers.items() if server is primary)


async def test_a_manual_failover_under_load_lets_no_revoked_token_pass(
    group: SentinelGroup,
) -> None:
    names = [f"load-{number}" for number in range(60)]
    for jti in names:
        bring_to_life(group, jti)
    async with cache_over(_url(group)) as cache:
        answers: dict[str, list[TokenStatus]] = {jti: [] for jti in names}

        async def ask() -> None:
            while True:
                for jti in names:
                    answers[jti].append(await cache.token_status(jti))
                await asyncio.sleep(0.01)

        await learned(cache, "live")
        asking = asyncio.create_task(ask())
        _replicated(group)
        old = group.primary()
        with next(iter(group.sentinels.values())).client() as client:
            client.execute_command("SENTINEL", "FAILOVER", "portcullis")
        await asyncio.to_thread(group.wait_for_failover, old)
        for jti in names[::2]:
            await asyncio.to_thread(revoke, group, jti)
        await answers_until(cache, names[0], TokenStatus.REVOKED)
        await learned(cache, names[1])
        await eventually(lambda: all(answers[jti][-1] is TokenStatus.REVOKED for jti in names[::2]))
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        for jti in names[::2]:
            known = [answer for answer in answers[jti] if answer is not TokenStatus.UNKNOWN]
            assert_never_passes_again(known)
        assert all(TokenStatus.REVOKED not in answers[jti] for jti in names[1::2])


async def test_a_flush_of_the_primary_is_detected_and_killed_connections_are_replaced(
    group: SentinelGroup,
) -> None:
    async with cache_over(_url(group)) as cache:
        for turn in range(3):
            await learned(cache, "live")
            before = cache.counts.connections
            with group.client() as client:
                for connection in client.client_list():
                    if connection["user"] == "check":
                        client.client_kill_filter(_id=connection["id"])
                client.flushall()
            assert_never_passes_again(await answers_until(cache, "live", TokenStatus.REVOKED))
            await connected_after(cache, before)
            bring_to_life(group, "live", ex=600 + turn)


async def test_tokens_are_revoked_when_a_primary_returns_empty_before_the_sentinels_detect_it(
    group: SentinelGroup,
) -> None:
    async with cache_over(_url(group)) as cache:
        await learned(cache, "live")
        primary = group.primary()
        for sentinel in group.sentinels.values():
            sentinel.pause()
        primary.kill()
        primary.start()
        for sentinel in group.sentinels.values():
            sentinel.resume()
        assert_never_passes_again(
            await answers_until(cache, "live", TokenStatus.REVOKED) + await more_answers(cache, "live")
        )
        bring_to_life(group, "live")
        await learned(cache, "live")


async def test_a_cache_that_starts_before_the_sentinels_connects_later(group: SentinelGroup) -> None:
    for sentinel in group.sentinels.values():
        sentinel.kill()
    async with cache_over(_url(group)) as cache:
        assert await cache.token_status("live") is TokenStatus.UNKNOWN
        for sentinel in group.sentinels.values():
            sentinel.start()
        await learned(cache, "live")
    until(group.primary)
