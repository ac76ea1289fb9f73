"""A client with its grant, as a gateway stores them in Redis, and a function that reads everything in a Redis."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from redis.asyncio import Redis as AsyncRedis

from oauth_core.model import Client, Grant, User
from oauth_core.store import keyspace
from oauth_core.store.records import key_ring
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.key_ring import KeyRingStore
from tests.support.master_key import MASTER_KEY_BYTES, RECORD_KEY

if TYPE_CHECKING:
    import pytest
    from redis import Redis

    from tests.support.redis_server import RedisServer

NOW = int(time.time())
CLIENT = Client(
    client_id="c" * 22,
    issued_at=NOW,
    registration_token_hash="h",
    token_endpoint_auth_method="none",
    redirect_uris=("http://127.0.0.1/callback",),
    grant_types=("authorization_code",),
    response_types=("code",),
)
GRANT = Grant(
    grant_id="g" * 22,
    client_id=CLIENT.client_id,
    scopes=("mcp.time",),
    resources=("https://time.example/mcp",),
    created_at=NOW,
    expires_at=NOW + 86_400,  # this module is imported long before its tests run
    user=User(42, "octocat"),
)


def populate(server: RedisServer) -> None:
    """A client with a grant, as a gateway stores them, without a key ring."""
    asyncio.run(_populate(server))


async def _populate(server: RedisServer) -> None:
    async with AsyncRedis(unix_socket_path=str(server.socket), decode_responses=True) as redis:
        clients, grants = ClientStore(redis, RECORD_KEY), GrantStore(redis, RECORD_KEY)
        await clients.add(CLIENT)
        await clients.index_grant(GRANT)
        await grants.create(GRANT, None)


def everything(redis: Redis) -> dict[str, Any]:
    """Every key with its value and the second of its expiry, as exact as a test can read it."""
    readers: dict[str, Any] = {
        "string": redis.get,
        "hash": redis.hgetall,
        "set": redis.smembers,
        "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
    }
    return {key: readers[str(redis.type(key))](key) for key in redis.scan_iter()}


async def older_ring(
    redis: AsyncRedis, monkeypatch: pytest.MonkeyPatch, master_key: bytes = MASTER_KEY_BYTES
) -> None:
    """A key ring as version 2 wrote it."""
    await redis.delete(keyspace.KEYRING)
    with monkeypatch.context() as older:
        older.setattr(key_ring, "_CONTEXT", key_ring._OLD_CONTEXT)
        await KeyRingStore(redis, master_key=master_key).open("ES256", now=0)
    await redis.delete(keyspace.JWKS)
