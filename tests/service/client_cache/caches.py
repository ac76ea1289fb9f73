"""Caches of one Redis or several, and functions that wait for a state of the cache."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol

from redis.asyncio import Redis as AsyncRedis

from oauth_core.policy.decision import TokenStatus
from oauth_core.settings.gateway import RedisSettings
from oauth_core.store import keyspace
from oauth_core.store.client_cache.client_cache import ClientCache
from oauth_core.store.client_cache.token_status import CHECK_ACL
from oauth_core.store.clock import unsleeping_clock
from oauth_core.store.connection import redis_topology
from oauth_core.store.topology.topology import OneServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.support.redis_server import RedisServer

ADMIN_PASSWORD = "admin-password-of-tests"
PASSWORD = "check-password-of-tests"
USERS = {
    "check": ("on", f">{PASSWORD}", *CHECK_ACL),
    "untold": ("on", f">{PASSWORD}", *(rule for rule in CHECK_ACL if rule != "+client|tracking")),
}
BOUND = 0.4
STEADY: dict[str, Any] = {"bound": 60.0, "timeout": 60.0}
"""Limits at which a busy machine never makes the cache doubt its connection."""
PATIENCE = 60.0


class Written(Protocol):
    """One server or several servers that tests write tokens to."""

    def client(self) -> Any:
        """A blocking client with every right."""


def bring_to_life(redis: Written, jti: str, **how_long: int) -> None:
    """Write an active token `jti`, with a lifetime of ten minutes unless `px` or `ex` gives another."""
    with redis.client() as client:
        client.set(keyspace.token(jti), "grant-1", **(how_long or {"ex": 600}))


def revoke(redis: Written, jti: str) -> None:
    """Delete the token, as an operator does."""
    with redis.client() as client:
        assert client.delete(keyspace.token(jti)) == 1


@asynccontextmanager
async def cache_of(
    redis: RedisServer, *, socket: Path | None = None, user: str = "check", **changes: Any
) -> AsyncIterator[ClientCache]:
    """A cache of `redis`, as the check service makes it; it may not have a connection yet."""
    client = AsyncRedis(
        unix_socket_path=str(socket or redis.socket),
        username=user,
        password=PASSWORD,
        protocol=2,
        decode_responses=True,
        socket_timeout=changes.get("timeout", BOUND),
        socket_connect_timeout=changes.get("timeout", BOUND),
    )
    cache = ClientCache(OneServer(client), **{"timeout": BOUND, "bound": BOUND, "size": 1000, **changes})
    keeping = asyncio.create_task(cache.maintain_connections())
    try:
        yield cache
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await client.aclose()


async def eventually(happened: Callable[[], object]) -> None:
    """Return once `happened()` is true. Fail if it stays false."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def connected_after(cache: ClientCache, connections: int) -> None:
    """Return once the cache has opened more than `connections` connections."""
    await eventually(lambda: cache.counts.connections > connections)


async def answers_until(cache: ClientCache, jti: str, wanted: TokenStatus) -> list[TokenStatus]:
    """Ask until the answer is `wanted`. Return all answers, including that one."""
    answers: list[TokenStatus] = []
    deadline = time.monotonic() + PATIENCE
    while not answers or answers[-1] is not wanted:
        assert time.monotonic() < deadline, f"still {answers[-1:]}"
        answers.append(await cache.token_status(jti))
        await asyncio.sleep(0.002)
    return answers


async def learned(cache: ClientCache, jti: str) -> None:
    """Return once the cache answers from memory that `jti` is active."""
    deadline = time.monotonic() + PATIENCE
    while cache.cached_status(jti) is not TokenStatus.ACTIVE:
        assert time.monotonic() < deadline
        await cache.token_status(jti)
        await asyncio.sleep(0.002)


def commands(redis: RedisServer, name: str) -> int:
    """How often Redis has executed this command."""
    with redis.client() as client:
        stats: Any = client.info("commandstats")
    return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))


def redis_settings(url: str, *, password: str) -> RedisSettings:
    """Settings that lead to several servers."""
    return RedisSettings.model_validate(
        {
            "base_domain": "example.com",
            "services": [{"name": "alpha", "upstream": "http://127.0.0.1:9"}],
            "redis_url": url,
            "redis_password": password,
            "redis_sentinel_password": ADMIN_PASSWORD,
            "redis_timeout": BOUND,
        }
    )


@asynccontextmanager
async def cache_over(url: str, **changes: Any) -> AsyncIterator[ClientCache]:
    """A cache of several servers, made from settings as the check service makes it."""
    settings = redis_settings(url, password=PASSWORD)
    servers = redis_topology(settings, bound=BOUND, clock=unsleeping_clock)
    cache = ClientCache(servers, **{"timeout": BOUND, "bound": BOUND, "size": 1000, **changes})
    keeping = asyncio.create_task(cache.maintain_connections())
    try:
        yield cache
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await servers.aclose()


def assert_never_passes_again(answers: Sequence[TokenStatus]) -> None:
    """Assert that no answer after the first other answer is ACTIVE."""
    refused = [answer is not TokenStatus.ACTIVE for answer in answers]
    assert refused == sorted(refused), answers


async def more_answers(cache: ClientCache, jti: str) -> list[TokenStatus]:
    """Collect further answers, for as long as a stale one could still appear."""
    answers = []
    for _ in range(8):
        answers.append(await cache.token_status(jti))
        await asyncio.sleep(BOUND / 4)
    return answers
