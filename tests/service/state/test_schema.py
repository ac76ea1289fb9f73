"""The version of the records in Redis: older ones are migrated, newer ones are not changed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from oauth_core.model import Client
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.maintenance.schema import VERSION, SchemaError, SchemaStore, index_grants
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.key_ring import KeyRingStore
from oauth_core.store.records.leases import LeaseStore
from tests.service.state.commands import portcullis
from tests.service.state.kept_records import CLIENT, GRANT, populate
from tests.support import forks
from tests.support.master_key import MASTER_KEY_BYTES, RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.redis_server import RedisServer


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(unix_socket_path=str(server.socket), decode_responses=True) as redis:
        await redis.flushall()
        yield redis


def ring(redis: Redis) -> KeyRingStore:
    return KeyRingStore(redis, master_key=MASTER_KEY_BYTES)


async def test_an_empty_redis_gets_this_version(redis: Redis) -> None:
    assert await SchemaStore(redis).version() == VERSION
    assert await redis.get(keyspace.SCHEMA) == str(VERSION)


async def test_records_without_a_version_are_migrated_by_one_of_many_processes(
    server: RedisServer, redis: Redis
) -> None:
    await asyncio.to_thread(populate, server)
    assert GRANT.user is not None
    await redis.delete(keyspace.user_grants(GRANT.user.github_id), keyspace.client_grants(GRANT.client_id))
    await redis.sadd(keyspace.client_grants(GRANT.client_id), "as it was once")
    migrated = await asyncio.gather(
        *(SchemaStore(redis).migrate(LeaseStore(redis, holder=str(number)), ring(redis)) for number in range(8))
    )
    assert sorted(version for left in migrated for version in left) == list(range(VERSION))
    assert await GrantStore(redis, RECORD_KEY).of_user(GRANT.user.github_id) == (GRANT,)
    for index in (keyspace.user_grants(GRANT.user.github_id), keyspace.client_grants(GRANT.client_id)):
        assert await redis.zrange(index, 0, -1) == [GRANT.grant_id]
        assert 0 < await redis.ttl(index) <= 86_400
    assert await SchemaStore(redis).migrate(LeaseStore(redis, holder="late"), ring(redis)) == ()


async def test_a_rebuilt_index_contains_the_grants_that_a_client_uses_of_its_sibling(
    server: RedisServer, redis: Redis
) -> None:
    await asyncio.to_thread(populate, server)
    sibling = "s" * 22
    await GrantStore(redis, RECORD_KEY).record_sibling(GRANT, sibling)
    assert await index_grants(redis, RECORD_KEY) == 1
    assert await redis.zrange(keyspace.sibling_grants(sibling), 0, -1) == [GRANT.grant_id]


async def test_the_command_migrates(server: RedisServer, redis: Redis, environment: dict[str, str]) -> None:
    await asyncio.to_thread(populate, server)
    done = forks.run("portcullis", "migrate", "--json", environment=environment)
    assert json.loads(done.stdout) == {"version": VERSION, "migrated_from": list(range(VERSION)), "adopted": 0}
    assert "state.migrated" in done.stderr
    assert await redis.get(keyspace.SCHEMA) == str(VERSION)


async def test_the_first_registrant_of_a_formerly_shared_record_may_only_read_it(
    server: RedisServer, redis: Redis
) -> None:
    """Otherwise it could now add a redirect URI for all clients that use the record."""
    await asyncio.to_thread(populate, server)
    key = keyspace.client(CLIENT.client_id)
    record = json.loads(RECORD_KEY.open(key, str(await redis.get(key))))
    await redis.set(keyspace.SCHEMA, "1")
    for sharing in ("shared", "possible"):
        shared = RECORD_KEY.sign(key, json.dumps({**record, "sharing": sharing}))
        await redis.set(key, shared, ex=1000)
        await redis.set("registration:of-the-same", CLIENT.client_id)
        await redis.set(keyspace.SCHEMA, "1")
        await SchemaStore(redis).migrate(LeaseStore(redis, holder="one"), ring(redis))
        client = await ClientStore(redis, RECORD_KEY).get(CLIENT.client_id)
        assert client is not None
        only_reads = client.registration_permissions == ("registration.read",)
        assert only_reads is (sharing == "shared")
        assert 0 < await redis.ttl(key) <= 1000
        assert not await redis.exists("registration:of-the-same")


async def test_unused_clients_with_a_lifetime_of_90_days_end_within_a_week(
    server: RedisServer, redis: Redis
) -> None:
    await asyncio.to_thread(populate, server)
    with_grant, unused, soon, machine = CLIENT.client_id, "u" * 22, "s" * 22, "m" * 22
    lives = {with_grant: 7_776_000, unused: 7_776_000, soon: 1000, machine: None}
    for client_id, life in lives.items():
        key, client = keyspace.client(client_id), dataclasses.replace(CLIENT, client_id=client_id)
        await redis.set(key, RECORD_KEY.sign(key, Codec(Client).dump(client)), ex=life)
    await redis.set(keyspace.SCHEMA, "2")
    await SchemaStore(redis).migrate(LeaseStore(redis, holder="one"), ring(redis))
    left = [await redis.ttl(keyspace.client(client_id)) for client_id in lives]
    assert [life > 7_000_000 for life in left] == [True, False, False, False]
    assert 600_000 < left[1] <= 604_800
    assert left[2] <= 1000
    assert left[3] == -1


@pytest.mark.parametrize("stands", [str(VERSION + 1), "restoring", "-1", "what"])
async def test_a_newer_version_or_an_incomplete_restore_is_refused_by_commands_and_by_the_server(
    redis: Redis, environment: dict[str, str], stands: str
) -> None:
    await redis.set(keyspace.SCHEMA, stands)
    with pytest.raises(SchemaError):
        await SchemaStore(redis).version()
    for command in (["clients", "list"], ["backup", "/nowhere/backup"], ["migrate"]):
        told = portcullis(environment, *command, fails=True)
        assert "Traceback" not in told
    web = {**environment, "GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "x", "WEB_LISTEN": "127.0.0.1:1"}
    done = forks.run("oauth_web", environment=web)
    assert done.returncode == 2
    assert done.stderr.startswith("oauth_web: ")
    assert await redis.get(keyspace.SCHEMA) == stands
