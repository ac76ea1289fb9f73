"""The connection to Redis, and the one place that turns its failures into `StoreUnavailableError`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from oauth_core.errors import StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oauth_core.settings import RedisSettings


def connect(settings: RedisSettings) -> Redis:
    """A client that connects when first used and gives each attempt `redis_timeout` seconds.

    A call on a connection that turns out to be closed is tried once more; one that timed out is not.
    """
    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    return Redis.from_url(
        settings.redis_url,
        password=password,
        decode_responses=True,
        protocol=2,
        socket_timeout=settings.redis_timeout,
        socket_connect_timeout=settings.redis_timeout,
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )


@asynccontextmanager
async def guarded() -> AsyncIterator[None]:
    """Turn every failure to get an answer out of Redis into `StoreUnavailableError`."""
    try:
        yield
    except AuthenticationError as error:
        raise StoreUnavailableError(f"Redis refused our password: {error}") from error
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailableError(f"{type(error).__name__}: {error}") from error
