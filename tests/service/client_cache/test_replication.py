"""A command reports whether a revocation would survive the loss of the primary, and that report is true."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from oauth_core.store import keyspace
from oauth_core.store.connection import connect
from oauth_core.store.replication import is_replicated
from tests.service.client_cache.caches import ADMIN_PASSWORD, bring_to_life, redis_settings, revoke
from tests.support.redis_groups import ClusterGroup, SentinelGroup, running_cluster, running_sentinels, until
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer

Group = SentinelGroup | ClusterGroup
WARNING = "no replica of Redis has confirmed it"


@pytest.fixture(scope="module", params=[running_sentinels, running_cluster], ids=["sentinels", "cluster"])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """Several servers, which each test leaves unchanged."""
    with request.param(password=ADMIN_PASSWORD) as servers:
        yield servers


def replica_of(group: Group) -> RedisServer:
    return group.replica() if isinstance(group, SentinelGroup) else group.replica_of_first()


async def asked(url: str) -> bool:
    """Whether all writes so far are confirmed by a replica."""
    settings = redis_settings(url, password=ADMIN_PASSWORD).model_copy(update={"redis_timeout": 3.0})
    redis = connect(settings)
    try:
        return await is_replicated(redis, settings)
    finally:
        await redis.aclose()


async def test_a_replica_that_follows_confirms_and_a_frozen_one_does_not(group: Group) -> None:
    assert await asked(group.url())
    replica = replica_of(group)
    replica.pause()
    try:
        assert not await asked(group.url())
    finally:
        replica.resume()
    assert await asked(group.url())


async def test_one_server_without_a_replica_counts_as_replicated() -> None:
    with running_redis(password=ADMIN_PASSWORD) as server:
        assert await asked(server.url())


async def test_a_user_without_the_right_to_ask_gets_no_confirmation(group: Group) -> None:
    settings = redis_settings(group.url(user="nobody"), password="wrong")
    redis = connect(settings)
    try:
        assert not await is_replicated(redis, settings)
    finally:
        await redis.aclose()


def test_the_command_warns_when_no_replica_confirms_and_still_does_its_work(group: Group, tmp_path: Path) -> None:
    config = tmp_path / "portcullis.toml"
    config.write_text('[[services]]\nname = "alpha"\nupstream = "http://127.0.0.1:9/mcp"\n', encoding="utf-8")
    command = [sys.executable, "-m", "portcullis", "services", "--config", str(config)]
    command += ["isolate", "alpha", "--reason", "test", "--json"]
    environment = {
        "PATH": os.environ["PATH"],
        "BASE_DOMAIN": "example.com",
        "MASTER_KEY": base64.b64encode(bytes(32)).decode(),
        "GITHUB_CLIENT_ID": "id",
        "GITHUB_CLIENT_SECRET": "secret",
        "ALLOWED_GITHUB_USERS": "octo",
        "REDIS_URL": group.url(),
        "REDIS_PASSWORD": ADMIN_PASSWORD,
        "REDIS_SENTINEL_PASSWORD": ADMIN_PASSWORD,
    }

    def disable() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)

    done = disable()
    assert done.returncode == 0, done.stderr
    assert WARNING not in done.stderr
    replica = replica_of(group)
    replica.pause()
    try:
        done = disable()
    finally:
        replica.resume()
    assert done.returncode == 0, done.stderr
    assert '"isolated": true' in done.stdout
    assert WARNING in done.stderr


async def test_a_confirmed_revocation_holds_when_the_primary_is_killed_at_that_moment() -> None:
    with running_sentinels(password=ADMIN_PASSWORD) as group:
        names = [f"token-{number}" for number in range(50)]
        for jti in names:
            bring_to_life(group, jti)
        assert await asked(group.url())
        for jti in names:
            revoke(group, jti)
        assert await asked(group.url())
        old = group.primary()
        old.kill()
        group.wait_for_failover(old)
        with group.client() as client:
            until(client.ping)
            assert client.exists(*map(keyspace.token, names)) == 0
