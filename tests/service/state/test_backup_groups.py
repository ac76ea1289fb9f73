"""Backups of several servers: from one kind of Redis into the same or another kind."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis as AsyncRedis

from oauth_core.model import KnownUser, User
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import connect
from oauth_core.store.maintenance.schema import VERSION
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.key_ring import KeyRingStore
from oauth_core.store.scanning import scan
from tests.service.client_cache.caches import redis_settings
from tests.service.state.commands import portcullis
from tests.service.state.kept_records import CLIENT, GRANT, NOW, everything, older_ring
from tests.support.master_key import MASTER_KEY, RECORD_KEY
from tests.support.redis_groups import ClusterGroup, SentinelGroup, running_cluster, running_sentinels
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PASSWORD = "admin-password-of-tests"
GRANTS = 300
"""Enough grants that each server of a cluster has some."""

Group = SentinelGroup | ClusterGroup


@pytest.fixture(scope="module", params=[running_sentinels, running_cluster], ids=["sentinels", "cluster"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    with request.param(password=PASSWORD) as servers:
        yield servers


def environment_of(group: Group, folder: Path) -> dict[str, str]:
    config = folder / "portcullis.toml"
    config.write_text(
        'issuer = "http://localhost:8080"\n[[services]]\nname = "time"\nupstream = "http://127.0.0.1:1/mcp"\n'
    )
    return {
        "PORTCULLIS_CONFIG": str(config),
        "REDIS_URL": group.url(),
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_SENTINEL_PASSWORD": PASSWORD,
        "REDIS_TIMEOUT": "20",
        "MASTER_KEY": MASTER_KEY,
    }


async def populate(redis: AsyncRedis, master_key: str) -> None:
    """The records of a gateway after some hundred sign-ins."""
    clients, grants = ClientStore(redis, RECORD_KEY), GrantStore(redis, RECORD_KEY)
    await KeyRingStore(redis, master_key=base64.b64decode(master_key)).open("ES256", now=NOW)
    await redis.set(keyspace.SCHEMA, VERSION)
    await clients.add(CLIENT)
    for number in range(GRANTS):
        grant = replace(GRANT, grant_id=f"{number:022}", user=User(number, f"user-{number}"))
        await clients.index_grant(grant)
        await grants.create(grant, None)
    await redis.set("block:7", '{"github_id":7,"since":1}', ex=500)
    await redis.set(keyspace.token("j" * 22), GRANT.grant_id, ex=500)
    await redis.aclose()


def without_copies(records: dict[str, Any]) -> dict[str, Any]:
    """The records without derived values: the published keys are signed anew, and a restored grant is marked as
    restored.
    """
    for key, value in records.items():
        if key.startswith("grant:"):
            value.pop("restored", None)
    return {
        key: value
        for key, value in records.items()
        if not key.startswith(("jwks", "signed-jwks", "isolated-services-copy"))
    }


def test_a_backup_is_restored_into_an_empty_redis_of_the_same_kind(group: Group, tmp_path: Path) -> None:
    environment = environment_of(group, tmp_path)
    with group.client() as redis:
        redis.flushall()
        asyncio.run(populate(connect(redis_settings(group.url(), password=PASSWORD)), environment["MASTER_KEY"]))
        before = without_copies(everything(redis))
        assert len(before) > 2 * GRANTS
        portcullis(environment, "backup", str(tmp_path / "backup"))
        redis.flushall()
        portcullis(environment, "restore", str(tmp_path / "backup"))
        del before[keyspace.token("j" * 22)]
        assert without_copies(everything(redis)) == before
        # Existing records are not replaced without the option, and blocks are never replaced.
        redis.set("block:7", "as it is")
        redis.set("client:" + "x" * 22, "since then")
        assert "not empty" in portcullis(environment, "restore", str(tmp_path / "backup"), fails=True)
        portcullis(environment, "restore", "--force", str(tmp_path / "backup"))
        assert without_copies(everything(redis)) == {**before, "block:7": "as it is"}


@pytest.mark.parametrize("group", [running_sentinels], indirect=True, ids=["sentinels"])
def test_an_error_names_sentinels_that_require_a_password(group: Group, tmp_path: Path) -> None:
    environment = {**environment_of(group, tmp_path), "REDIS_SENTINEL_PASSWORD": ""}
    said = portcullis(environment, "backup", str(tmp_path / "backup"), fails=True)
    assert "3 of 3 gave no answer (AuthenticationError)" in said


def test_a_backup_of_one_server_is_restored_into_several(group: Group, tmp_path: Path) -> None:
    """A gateway grows from a single Redis to Sentinel or a cluster in this way."""
    environment = environment_of(group, tmp_path)
    with running_redis() as server, server.client() as single:
        single_environment = {**environment, "REDIS_URL": server.url(), "REDIS_PASSWORD": ""}
        asyncio.run(populate(AsyncRedis(unix_socket_path=str(server.socket)), environment["MASTER_KEY"]))
        portcullis(single_environment, "backup", str(tmp_path / "backup"))
        before = without_copies(everything(single))
        del before[keyspace.token("j" * 22)]
    with group.client() as redis:
        redis.flushall()
        portcullis(environment, "restore", str(tmp_path / "backup"))
        assert without_copies(everything(redis)) == before


def test_records_without_codes_are_adopted_on_every_server(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = environment_of(group, tmp_path)

    async def older() -> None:
        redis = connect(redis_settings(group.url(), password=PASSWORD))
        await populate(redis, environment["MASTER_KEY"])
        async for name in scan(redis, keyspace.ALL_GRANTS):
            await redis.hset(name, "record", RECORD_KEY.open(name, str(await redis.hget(name, "record"))))
        await older_ring(redis, monkeypatch, base64.b64decode(environment["MASTER_KEY"]))
        await redis.set(keyspace.user(7), Codec(KnownUser).dump(KnownUser(User(7, "alice"), NOW)))
        await redis.set(keyspace.SCHEMA, "2")
        await redis.aclose()

    with group.client() as redis:
        redis.flushall()
        asyncio.run(older())
        told = portcullis(environment, "migrate", fails=True)
        assert "--adopt-records" in told
        portcullis(environment, "migrate", "--adopt-records", "--yes")
        for number in range(GRANTS):
            place = keyspace.grant(f"{number:022}")
            assert RECORD_KEY.open(place, str(redis.hget(place, "record")))
        assert RECORD_KEY.open(keyspace.login("alice"), str(redis.get(keyspace.login("alice")))) == "7"
        assert redis.get(keyspace.SCHEMA) == str(VERSION)
