"""The lookups of the cache in a real Redis, and how soon it receives changes."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from tests.service.client_cache.caches import (
    STEADY,
    answers_until,
    bring_to_life,
    cache_of,
    commands,
    eventually,
    learned,
    revoke,
)

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer

LIVE = keyspace.token("live")


async def test_a_token_is_looked_up_once_and_then_answered_from_the_cache(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await learned(cache, "live")
        before = commands(redis, "pttl") + commands(redis, "exists")
        assert {await cache.token_status("live") for _ in range(500)} == {TokenStatus.ACTIVE}
        assert commands(redis, "pttl") + commands(redis, "exists") == before


async def test_concurrent_lookups_of_one_token_share_one_command(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await eventually(lambda: cache.is_connected)
        answers = await asyncio.gather(*(cache.token_status("live") for _ in range(300)))
        assert set(answers) == {TokenStatus.ACTIVE}
        assert commands(redis, "pttl") == 1
        assert cache.counts.shared == 299


async def test_an_absent_token_is_looked_up_once_for_a_while(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await eventually(lambda: cache.is_connected)
        assert {await cache.token_status("nobody") for _ in range(100)} == {TokenStatus.REVOKED}
        assert commands(redis, "pttl") == 1


async def test_a_token_that_becomes_active_is_no_longer_cached_as_absent(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await eventually(lambda: cache.is_connected)
        assert await cache.token_status("new") is TokenStatus.REVOKED
        bring_to_life(redis, "new")
        await answers_until(cache, "new", TokenStatus.ACTIVE)


@pytest.mark.parametrize(
    "change",
    [
        ("DEL", LIVE),
        ("UNLINK", LIVE),
        ("GETDEL", LIVE),
        ("RENAME", LIVE, "elsewhere"),
        ("PEXPIRE", LIVE, "1"),
        ("PEXPIREAT", LIVE, "1"),
        ("SET", LIVE, "again", "PX", "30"),
        ("MOVE", LIVE, "1"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", "1", LIVE),
        ("FLUSHALL",),
        ("FLUSHALL", "ASYNC"),
        ("FLUSHDB",),
    ],
    ids=lambda command: " ".join(command)[:30],
)
async def test_a_token_is_refused_after_every_command_that_ends_its_key_on_every_process(
    redis: RedisServer, change: tuple[str, ...]
) -> None:
    async with cache_of(redis, **STEADY) as cache, cache_of(redis, **STEADY) as other_process:
        await learned(cache, "live")
        await learned(other_process, "live")
        with redis.client() as client:
            client.execute_command(*change)
        for each in (cache, other_process):
            await answers_until(each, "live", TokenStatus.REVOKED)
            assert {await each.token_status("live") for _ in range(50)} == {TokenStatus.REVOKED}
            assert each.counts.connections == 1, "the connection worked all the time"


async def test_a_token_that_is_not_changed_ends_with_its_lifetime(redis: RedisServer) -> None:
    bring_to_life(redis, "short", px=300)
    async with cache_of(redis, **STEADY) as cache:
        await learned(cache, "short")
        await answers_until(cache, "short", TokenStatus.REVOKED)


async def test_revoking_one_token_leaves_the_others_cached(redis: RedisServer) -> None:
    bring_to_life(redis, "other")
    async with cache_of(redis, **STEADY) as cache:
        await learned(cache, "live")
        await learned(cache, "other")
        revoke(redis, "live")
        await answers_until(cache, "live", TokenStatus.REVOKED)
        assert cache.cached_status("other") is TokenStatus.ACTIVE


async def test_a_lookup_after_a_revocation_is_refused_however_busy_the_process_is(redis: RedisServer) -> None:
    """The invalidation and a later request wait for the process: it handles the invalidation first."""
    loop = asyncio.get_running_loop()
    async with cache_of(redis, **STEADY) as cache:
        for number in range(20):
            bring_to_life(redis, f"live-{number}")
            await learned(cache, f"live-{number}")
            end, other_end = socket.socketpair()
            answered: asyncio.Future[tuple[TokenStatus | None, asyncio.Task[TokenStatus]]] = loop.create_future()

            def answer(jti: str = f"live-{number}", answered: asyncio.Future[Any] = answered) -> None:
                answered.set_result((cache.cached_status(jti), loop.create_task(cache.token_status(jti))))

            loop.add_reader(end, answer)
            # The event loop does not run before both have arrived. Redis answers the revocation and sends the
            # invalidation together, in any order; when it answers again, both have been sent.
            revoke(redis, f"live-{number}")
            with redis.client() as client:
                client.ping()
            other_end.send(b"?")
            known, asked = await answered
            loop.remove_reader(end)
            assert known is not TokenStatus.ACTIVE
            assert await asked is TokenStatus.REVOKED
            end.close()
            other_end.close()


async def test_a_change_of_the_published_keys_is_reported(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await eventually(lambda: cache.is_connected)
        for document in ("first", "second"):
            cache.published_keys.changed.clear()
            await cache.published_keys.read()
            with redis.client() as client:
                client.set(keyspace.JWKS, document)
            await asyncio.wait_for(cache.published_keys.changed.wait(), 60)
            assert await cache.published_keys.read() == document.encode()


async def test_a_key_of_the_wrong_type_is_no_outage_and_does_not_cost_the_connection(
    redis: RedisServer,
) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await learned(cache, "live")
        with redis.client() as client:
            client.lpush(keyspace.JWKS, "a list")
        with pytest.raises(ValueError, match="is not text"):
            await cache.published_keys.read()
        assert cache.cached_status("live") is TokenStatus.ACTIVE
        assert cache.counts.connections == 1


async def test_the_cache_has_a_size_limit_and_evicted_tokens_are_looked_up_again(redis: RedisServer) -> None:
    with redis.client() as client:
        client.mset({keyspace.token(f"t{number}"): "grant" for number in range(500)})
    async with cache_of(redis, **STEADY, size=50, absent_size=10) as cache:
        await eventually(lambda: cache.is_connected)
        assert {await cache.token_status(f"t{number}") for number in range(500)} == {TokenStatus.ACTIVE}
        assert {await cache.token_status(f"garbage-{number}") for number in range(500)} == {TokenStatus.REVOKED}
        assert len(cache) <= 2 * (50 + 10)
        assert cache.cached_status("t0") is None
        assert cache.cached_status("t499") is TokenStatus.ACTIVE, "absent tokens do not evict active ones"
        assert await cache.token_status("t0") is TokenStatus.ACTIVE


async def test_lookups_beyond_the_limit_of_concurrent_ones_are_unknown_at_once(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY, concurrent=5) as cache:
        await learned(cache, "live")
        redis.pause()
        try:
            waiting = [asyncio.create_task(cache.token_status(f"new-{number}")) for number in range(5)]
            await asyncio.sleep(0)
            assert await cache.token_status("one-too-many") is TokenStatus.UNKNOWN
            assert cache.counts.refused == 1
            assert not any(task.done() for task in waiting)
            assert await cache.token_status("live") is TokenStatus.ACTIVE, "a cached token needs no lookup"
        finally:
            redis.resume()
        assert set(await asyncio.gather(*waiting)) == {TokenStatus.REVOKED}
        assert await cache.token_status("one-too-many") is TokenStatus.REVOKED, (
            "and new lookups are possible again"
        )


async def test_a_cancelled_caller_does_not_cancel_the_lookup_of_the_others(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY) as cache:
        await eventually(lambda: cache.is_connected)
        first, second = (asyncio.create_task(cache.token_status("live")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second is TokenStatus.ACTIVE
        assert commands(redis, "pttl") == 1
        assert cache.counts.connections == 1


async def test_a_user_without_the_right_to_tracking_is_answered_but_nothing_is_cached(redis: RedisServer) -> None:
    async with cache_of(redis, **STEADY, user="untold") as cache:
        assert await cache.token_status("live") is TokenStatus.ACTIVE
        assert cache.cached_status("live") is None, "but it is not cached"
        revoke(redis, "live")
        assert await cache.token_status("live") is TokenStatus.REVOKED
        assert cache.counts.connections == 0


async def test_a_document_is_current_with_tracking_and_for_at_most_the_bound_without(
    redis: RedisServer,
) -> None:
    async with cache_of(redis, bound=2.0, timeout=2.0) as cache:
        document = cache.disabled_services
        await eventually(lambda: not document.is_current)  # it was never read
        await eventually(lambda: cache.is_connected)
        assert await document.read() is None
        await asyncio.sleep(3)
        await eventually(lambda: document.is_current)  # there was no change
        document.changed.clear()
        with redis.client() as client:
            client.set(keyspace.DISABLED_SERVICES, "{}")
            await asyncio.wait_for(document.changed.wait(), 60)
            await eventually(lambda: not document.is_current)
            assert await document.read() == b"{}"
            await eventually(lambda: document.is_current)
            client.set(keyspace.JWKS, "another document")
        await asyncio.wait_for(cache.published_keys.changed.wait(), 60)
        await eventually(lambda: document.is_current)
