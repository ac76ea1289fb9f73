"""The lookup of a token's status in Redis: what each answer means, and the deadline."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from oauth_core.store.client_cache.token_status import RedisTokenStatus
from tests.support.authz_process import PASSWORD, remember

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer


@asynccontextmanager
async def connected(socket: Path) -> AsyncIterator[Redis]:
    """A connection as the check service makes it."""
    redis = Redis(unix_socket_path=str(socket), username="check", password=PASSWORD, protocol=2)
    try:
        yield redis
    finally:
        await redis.aclose()


@asynccontextmanager
async def slowed(redis: RedisServer, seconds: float, folder: Path) -> AsyncIterator[Path]:
    """A socket that leads to `redis` and delays each of its answers."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(delay)
            writer.write(data)
            await writer.drain()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(str(redis.socket))
        back = asyncio.create_task(carry(far_reader, writer, seconds))
        await carry(reader, far_writer, 0)
        back.cancel()
        await asyncio.gather(back, return_exceptions=True)
        for end in (far_writer, writer):
            end.close()
            await end.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.create_task(connect(reader, writer)))

    connections: list[asyncio.Task[None]] = []
    socket = folder / "slow.sock"
    async with await asyncio.start_unix_server(accept, socket):
        try:
            yield socket
        finally:
            await asyncio.gather(*connections)


async def test_a_stored_token_is_active_and_any_other_is_revoked(redis: RedisServer) -> None:
    remember(redis, "lives")
    async with connected(redis.socket) as client:
        token_status = RedisTokenStatus(client, timeout=60)
        assert await token_status.token_status("lives") is TokenStatus.ACTIVE
        assert await token_status.token_status("never-was") is TokenStatus.REVOKED
        assert await token_status.token_status("*") is TokenStatus.REVOKED


async def test_a_token_that_has_expired_in_redis_is_revoked(redis: RedisServer) -> None:
    remember(redis, "over")
    with redis.client() as admin:
        admin.pexpireat(keyspace.token("over"), 1)
    async with connected(redis.socket) as client:
        assert await RedisTokenStatus(client, timeout=60).token_status("over") is TokenStatus.REVOKED


async def test_the_deadline_is_for_the_whole_lookup_and_not_for_each_step(redis: RedisServer) -> None:
    remember(redis, "lives")
    async with slowed(redis, 0.15, redis.socket.parent) as socket, connected(socket) as client:
        # Connecting takes several answers, each well within the deadline, but together they are over it.
        assert await RedisTokenStatus(client, timeout=0.25).token_status("lives") is TokenStatus.UNKNOWN
        assert await RedisTokenStatus(client, timeout=60).token_status("lives") is TokenStatus.ACTIVE
