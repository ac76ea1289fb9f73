"""Faults between a process and Redis: a revoked token is refused, and active tokens pass again without a restart.

A fault is judged by the order of answers: once a revoked token was refused, or unknown, it never passes again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.policy.decision import TokenStatus
from tests.service.client_cache.caches import (
    BOUND,
    answers_until,
    assert_never_passes_again,
    bring_to_life,
    cache_of,
    commands,
    eventually,
    learned,
    more_answers,
    revoke,
)
from tests.service.client_cache.proxy import bad_connection

if TYPE_CHECKING:
    from oauth_core.store.client_cache.client_cache import ClientCache
    from tests.support.redis_server import RedisServer


PATIENT: dict[str, Any] = {"bound": 3.0, "timeout": 3.0}
"""For what must be true within the bound: a busy machine may take longer than `BOUND` between two steps of a test.
"""


async def another_connection(cache: ClientCache, before: int) -> None:
    """Return once there were more than `before` connections."""
    await eventually(lambda: cache.counts.connections > before)


async def test_tokens_are_unknown_while_redis_is_down_and_revoked_when_it_returns_empty(
    redis: RedisServer,
) -> None:
    async with cache_of(redis) as cache:
        await learned(cache, "live")
        redis.kill()
        await answers_until(cache, "live", TokenStatus.UNKNOWN)
        assert set(await more_answers(cache, "live")) == {TokenStatus.UNKNOWN}
        redis.start()
        answers = await answers_until(cache, "live", TokenStatus.REVOKED)
        assert TokenStatus.ACTIVE not in answers
        bring_to_life(redis, "live")
        await learned(cache, "live")


async def test_a_redis_that_is_replaced_by_an_empty_one_between_two_lookups_is_detected(
    redis: RedisServer,
) -> None:
    async with cache_of(redis) as cache:
        await learned(cache, "live")
        redis.kill()
        redis.start()
        assert_never_passes_again(
            await answers_until(cache, "live", TokenStatus.REVOKED) + await more_answers(cache, "live")
        )


async def test_tokens_are_unknown_once_redis_is_silent_for_the_bound_and_known_again_when_it_continues(
    redis: RedisServer,
) -> None:
    async with cache_of(redis, **PATIENT) as cache:
        await learned(cache, "live")
        redis.pause()
        try:
            assert cache.cached_status("live") is TokenStatus.ACTIVE, "a short silence is no reason to refuse"
            answers = await answers_until(cache, "live", TokenStatus.UNKNOWN) + await more_answers(cache, "live")
            assert_never_passes_again(answers)
        finally:
            redis.resume()
        await learned(cache, "live")
        revoke(redis, "live")
        await answers_until(cache, "live", TokenStatus.REVOKED)


async def test_a_cache_that_starts_without_redis_connects_later(redis: RedisServer) -> None:
    redis.kill()
    async with cache_of(redis) as cache:
        assert await cache.token_status("live") is TokenStatus.UNKNOWN
        redis.start()
        bring_to_life(redis, "live")
        await learned(cache, "live")


@pytest.mark.parametrize("way", ["to_client", "to_redis", "both"])
async def test_on_a_half_open_connection_a_revoked_token_is_refused_by_a_new_connection(
    redis: RedisServer, way: str
) -> None:
    """The connection is dead, its ends do not detect that, and new connections work."""
    async with bad_connection(redis.socket) as (proxy, socket), cache_of(redis, socket=socket) as cache:
        await learned(cache, "live")
        for connection in proxy.connections:
            connection.to_client.is_swallowing = way in {"to_client", "both"}
            connection.to_redis.is_swallowing = way in {"to_redis", "both"}
        revoke(redis, "live")
        assert_never_passes_again(
            await answers_until(cache, "live", TokenStatus.REVOKED) + await more_answers(cache, "live")
        )
        bring_to_life(redis, "live")
        await learned(cache, "live")


@pytest.mark.parametrize("new_connections_open", [True, False])
async def test_in_a_partition_every_token_is_unknown_and_active_tokens_pass_again_afterwards(
    redis: RedisServer, *, new_connections_open: bool
) -> None:
    bring_to_life(redis, "good")
    async with bad_connection(redis.socket) as (proxy, socket), cache_of(redis, socket=socket) as cache:
        await learned(cache, "live")
        await learned(cache, "good")
        proxy.is_swallowing = True
        if not new_connections_open:
            socket.rename(socket.with_suffix(".away"))
        for connection in proxy.connections:
            connection.to_client.is_swallowing = connection.to_redis.is_swallowing = True
        revoke(redis, "live")
        answers = await answers_until(cache, "live", TokenStatus.UNKNOWN) + await more_answers(cache, "live")
        assert_never_passes_again(answers)
        assert await cache.token_status("good") is TokenStatus.UNKNOWN
        proxy.is_swallowing = False
        if not new_connections_open:
            socket.with_suffix(".away").rename(socket)
        answers = await answers_until(cache, "live", TokenStatus.REVOKED)
        assert TokenStatus.ACTIVE not in answers
        await learned(cache, "good")


@pytest.mark.parametrize("is_revoked", [False, True])
async def test_a_process_that_was_stopped_keeps_unchanged_tokens_and_refuses_revoked_ones(
    redis: RedisServer, is_revoked: bool
) -> None:
    async with cache_of(redis, **PATIENT) as cache:
        await learned(cache, "live")
        before, asked = cache.counts.connections, commands(redis, "pttl")
        if is_revoked:
            revoke(redis, "live")
        time.sleep(2 * PATIENT["bound"])  # noqa: ASYNC251 - the fault itself
        assert cache.cached_status("live") is None
        await eventually(lambda: cache.is_connected)
        assert cache.cached_status("live") is (None if is_revoked else TokenStatus.ACTIVE)
        assert await cache.token_status("live") is (TokenStatus.REVOKED if is_revoked else TokenStatus.ACTIVE)
        assert cache.counts.connections == before
        assert commands(redis, "pttl") - asked == is_revoked


async def test_a_connection_that_is_slow_but_within_the_bound_is_used(redis: RedisServer) -> None:
    async with bad_connection(redis.socket) as (proxy, socket):
        proxy.delay = PATIENT["bound"] / 20
        async with cache_of(redis, socket=socket, **PATIENT) as cache:
            await learned(cache, "live")
            revoke(redis, "live")
            assert_never_passes_again(
                await answers_until(cache, "live", TokenStatus.REVOKED) + await more_answers(cache, "live")
            )
            assert cache.counts.connections == 1


async def test_an_answer_later_than_the_bound_is_not_used(redis: RedisServer) -> None:
    async with bad_connection(redis.socket) as (proxy, socket), cache_of(redis, socket=socket) as cache:
        await learned(cache, "live")
        proxy.delay = BOUND * 1.5
        for connection in proxy.connections:
            connection.to_client.delay = BOUND * 1.5
        revoke(redis, "live")
        answers = await answers_until(cache, "live", TokenStatus.UNKNOWN) + await more_answers(cache, "live")
        assert_never_passes_again(answers)
        proxy.delay = 0
        await answers_until(cache, "live", TokenStatus.REVOKED)


async def test_killed_connections_are_replaced_and_no_revocation_is_missed(redis: RedisServer) -> None:
    async with cache_of(redis) as cache:
        for turn in range(10):
            jti = f"turn-{turn}"
            bring_to_life(redis, jti)
            await learned(cache, jti)
            before = cache.counts.connections
            with redis.client() as client:
                for connection in client.client_list():
                    if connection["user"] == "check":
                        assert client.client_kill_filter(_id=connection["id"])
                client.delete(f"token:{jti}")
            assert_never_passes_again(await answers_until(cache, jti, TokenStatus.REVOKED))
            await another_connection(cache, before)


async def test_a_token_that_is_revoked_without_a_connection_is_refused_by_the_next_connection(
    redis: RedisServer,
) -> None:
    async with bad_connection(redis.socket) as (proxy, socket), cache_of(redis, socket=socket) as cache:
        await learned(cache, "live")
        away = socket.with_suffix(".away")
        socket.rename(away)
        await proxy.stop()
        await answers_until(cache, "live", TokenStatus.UNKNOWN)
        revoke(redis, "live")
        away.rename(socket)
        answers = await answers_until(cache, "live", TokenStatus.REVOKED)
        assert TokenStatus.ACTIVE not in answers


async def test_lookups_in_progress_are_repeated_when_the_connection_breaks(redis: RedisServer) -> None:
    async with (
        bad_connection(redis.socket) as (proxy, socket),
        cache_of(redis, socket=socket, timeout=60.0) as cache,
    ):
        await eventually(lambda: cache.is_connected)
        for connection in proxy.connections:
            connection.to_redis.is_swallowing = True
        assert await cache.token_status("never-seen") is TokenStatus.REVOKED


async def test_random_faults_never_let_a_revoked_token_pass_again(redis: RedisServer) -> None:
    """Revoke many tokens one by one while the connection is delayed, dropped and cut in turn."""
    async with bad_connection(redis.socket) as (proxy, socket), cache_of(redis, socket=socket) as cache:
        for turn in range(24):
            jti = f"turn-{turn}"
            bring_to_life(redis, jti)
            await learned(cache, jti)
            match turn % 4:
                case 0:
                    for connection in proxy.connections:
                        connection.to_client.is_swallowing = True
                case 1:
                    for connection in proxy.connections:
                        connection.to_client.delay = BOUND / 2
                case 2:
                    await proxy.stop()
            revoke(redis, jti)
            answers = await answers_until(cache, jti, TokenStatus.REVOKED)
            answers += [await cache.token_status(jti) for _ in range(20)]
            assert_never_passes_again(answers)
