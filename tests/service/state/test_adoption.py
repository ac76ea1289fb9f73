"""Records without authentication codes count only after an operator's command, once, and never because Redis says
so.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis

from oauth_core.model import Client, Grant, KnownUser, User
from oauth_core.settings import WebSettings, load
from oauth_core.store import keyspace
from oauth_core.store.codec import Codec
from oauth_core.store.connection import connect
from oauth_core.store.maintenance import schema
from oauth_core.store.maintenance.schema import VERSION
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.key_ring import KeyRingError, KeyRingStore
from oauth_core.store.records.refresh_rotation import RefreshState
from oauth_core.store.records.users import UserStore
from oauth_core.tokens import refresh_tokens
from portcullis.supervisor import adoption_note
from tests.service.state.commands import portcullis
from tests.service.state.kept_records import CLIENT, GRANT, older_ring
from tests.support import forks
from tests.support.master_key import MASTER_KEY_BYTES, RECORD_KEY
from tests.support.oauth_client import OAuthClient
from tests.support.redis_groups import until
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer


TOKEN = refresh_tokens.first_token(GRANT.grant_id)
GITHUB = {"GITHUB_CLIENT_ID": "x", "GITHUB_CLIENT_SECRET": "x"}


@pytest.fixture
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis(unix_socket_path=str(server.socket), decode_responses=True) as redis:
        await redis.flushall()
        yield redis


async def plain_records(redis: Redis) -> None:
    """A client and a grant as version 2 wrote them, or as an attacker writes them."""
    await redis.set(keyspace.SCHEMA, "2")
    grant = keyspace.grant(GRANT.grant_id)
    await redis.set(keyspace.client(CLIENT.client_id), Codec(Client).dump(CLIENT), ex=1000)
    fields: dict[Any, Any] = {
        "record": Codec(Grant).dump(GRANT),
        "family": TOKEN.family_hash,
        "current": TOKEN.successor().secret_hash,
        "previous": TOKEN.secret_hash,
        "rotated_at": str(GRANT.created_at),
        "ancestors": json.dumps([[TOKEN.secret_hash, "sealed", 1]]),
    }
    await redis.delete(grant)
    await redis.hset(grant, mapping=fields)
    await redis.expire(grant, 1000)


@pytest.fixture
async def older(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Redis:
    """The records of a gateway of version 2."""
    await plain_records(redis)
    await older_ring(redis, monkeypatch)
    return redis


async def is_signed_in(redis: Redis) -> bool:
    grants = GrantStore(redis, RECORD_KEY)
    if await grants.get(GRANT.grant_id) is None:
        return False
    assert await ClientStore(redis, RECORD_KEY).get(CLIENT.client_id) == CLIENT
    assert await grants.state_of(TOKEN) is RefreshState.PREVIOUS
    ((ancestor, *_),) = json.loads(str(await redis.hget(keyspace.grant(GRANT.grant_id), "ancestors")))
    assert ancestor == await redis.hget(keyspace.grant(GRANT.grant_id), "previous")
    assert 0 < await redis.ttl(keyspace.grant(GRANT.grant_id)) <= 1000
    assert 0 < await redis.ttl(keyspace.client(CLIENT.client_id)) <= 1000
    return True


def refuses_to_start(environment: dict[str, str]) -> None:
    web = {**environment, **GITHUB, "WEB_LISTEN": "127.0.0.1:1"}
    done = forks.run("oauth_web", environment=web)
    assert done.returncode == 2
    assert "portcullis migrate --adopt-records" in done.stderr
    assert "portcullis migrate --adopt-records" in portcullis(environment, "migrate", fails=True)


async def test_records_without_codes_prevent_the_start_until_an_operator_adopts_them(
    older: Redis, environment: dict[str, str]
) -> None:
    before = await older.hgetall(keyspace.grant(GRANT.grant_id))
    refuses_to_start(environment)
    assert await older.hgetall(keyspace.grant(GRANT.grant_id)) == before
    for _ in range(2):  # as if the first had been stopped before it could record its end
        done = forks.run("portcullis", "migrate", "--adopt-records", "--yes", environment=environment)
        assert done.returncode == 0, done.stderr
        assert await is_signed_in(older)
    assert await older.get(keyspace.SCHEMA) == str(VERSION)
    assert len((await KeyRingStore(older, master_key=MASTER_KEY_BYTES).read()).keys) == 1
    assert await older.exists(keyspace.JWKS), "check services have the keys before any oauth_web runs"


async def test_adoption_asks_for_confirmation_and_shows_the_records(
    older: Redis, environment: dict[str, str]
) -> None:
    done = forks.run("portcullis", "migrate", "--adopt-records", environment=environment)
    assert done.returncode != 0
    assert "1 grant, 1 client in Redis have no authentication code" in done.stderr
    assert not await is_signed_in(older)
    told = portcullis(environment, "migrate", "--adopt-records", "--yes")
    assert "state.records_adopted" in told
    assert "1 grant, 1 client" in told


async def test_after_adoption_a_listed_login_means_the_account_that_signed_in_first(
    older: Redis, environment: dict[str, str]
) -> None:
    """Otherwise the account with the login now could be the first one that is recorded."""
    people = (
        KnownUser(User(222, "Alice"), 2000),
        KnownUser(User(111, "alice"), 1000),
        KnownUser(User(333, "bob"), 500, is_vouched_for=True),
    )
    for known in people:
        await older.set(keyspace.user(known.user.github_id), Codec(KnownUser).dump(known))
    portcullis(environment, "migrate", "--adopt-records", "--yes")
    users = UserStore(older, RECORD_KEY, lifetime=0)
    assert await users.account_of("alice", first_seen=None) == 111
    assert await users.account_of("bob", first_seen=None) is None, (
        "the account is known only from an identity provider"
    )


async def test_an_old_key_ring_that_an_attacker_restores_makes_no_forged_grant_valid(
    older: Redis, environment: dict[str, str]
) -> None:
    old_ring = str(await older.get(keyspace.KEYRING))
    portcullis(environment, "migrate", "--adopt-records", "--yes")
    new_ring = str(await older.get(keyspace.KEYRING))
    for version in (None, *map(str, range(VERSION + 1))):
        await plain_records(older)
        if version is None:
            await older.delete(keyspace.SCHEMA)
        else:
            await older.set(keyspace.SCHEMA, version)
        await older.set(keyspace.KEYRING, old_ring)
        refuses_to_start(environment)
        assert not await is_signed_in(older)
        await older.set(keyspace.KEYRING, new_ring)
        portcullis(environment, "migrate")
        assert not await is_signed_in(older), "a plain record beside a new ring"
        await older.delete(keyspace.KEYRING)
        portcullis(environment, "migrate")
        assert not await is_signed_in(older), "a plain record beside no ring"


async def test_a_running_server_keeps_its_keys_when_an_old_key_ring_is_written_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with running_web() as web:
        settings = load(WebSettings, None, web.environment)
        key, redis = settings.master_key_bytes, connect(settings)
        async with redis, OAuthClient(web.issuer) as client:
            published = (await client.http.get(f"{web.issuer}/.well-known/jwks.json")).json()
            signed = str(await redis.get(keyspace.JWKS))
            await older_ring(redis, monkeypatch, key)
            await redis.set(keyspace.JWKS, signed)
            await asyncio.to_thread(until, lambda: "key ring unreadable" in web.log.read_text())
            assert (await client.http.get(f"{web.issuer}/.well-known/jwks.json")).json() == published
            assert await redis.get(keyspace.JWKS) == signed
            await redis.delete(keyspace.KEYRING)
            await asyncio.to_thread(until, lambda: "it is kept again" in web.log.read_text())
            assert json.loads((await KeyRingStore(redis, master_key=key).read()).jwks) == published


async def test_adoption_is_refused_once_the_state_folder_has_the_note_of_it(
    older: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    state = tmp_path / "state"
    (state / "secrets").mkdir(parents=True)
    old_ring = str(await older.get(keyspace.KEYRING))
    adopt = ("migrate", "--adopt-records", "--yes", "--state-dir", str(state))
    portcullis(environment, *adopt)
    await older.set(keyspace.KEYRING, old_ring)
    await plain_records(older)
    refused = portcullis(environment, *adopt, fails=True)
    assert str(adoption_note.path(state)) in refused
    assert "Traceback" not in refused
    assert not await is_signed_in(older)


async def test_up_adopts_at_its_first_start_in_a_folder_and_not_again(
    older: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    settings = load(WebSettings, None, {**environment, **GITHUB})
    old_ring = str(await older.get(keyspace.KEYRING))
    assert await adoption_note.adopt_once(tmp_path, settings) == {"grant": 1, "client": 1}
    assert await is_signed_in(older)
    await older.set(keyspace.KEYRING, old_ring)
    await plain_records(older)
    assert await adoption_note.adopt_once(tmp_path, settings) is None
    assert not await is_signed_in(older)


async def test_a_new_state_folder_never_adopts(
    redis: Redis, environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secrets").mkdir()
    settings = load(WebSettings, None, {**environment, **GITHUB})
    assert await adoption_note.adopt_once(tmp_path, settings) is None
    await plain_records(redis)
    await older_ring(redis, monkeypatch)
    assert await adoption_note.adopt_once(tmp_path, settings) is None
    assert not await is_signed_in(redis)


async def test_records_are_not_changed_under_another_master_key(
    redis: Redis, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await plain_records(redis)
    await older_ring(redis, monkeypatch, bytes(32))
    with pytest.raises(KeyRingError):
        await KeyRingStore(redis, master_key=MASTER_KEY_BYTES).check_adopted()
    before = await redis.hgetall(keyspace.grant(GRANT.grant_id))
    assert "another MASTER_KEY" in portcullis(environment, "migrate", "--adopt-records", "--yes", fails=True)
    assert await redis.hgetall(keyspace.grant(GRANT.grant_id)) == before


@pytest.mark.parametrize("retired", [False, True])
async def test_a_backup_of_an_older_version_is_adopted_from_the_file_with_an_option(
    older: Redis, environment: dict[str, str], tmp_path: Path, *, retired: bool
) -> None:
    file = tmp_path / "backup"
    portcullis(environment, "backup", str(file))
    portcullis(environment, "migrate", "--adopt-records", "--yes")
    if retired:
        (key,) = (await KeyRingStore(older, master_key=MASTER_KEY_BYTES).read()).keys
        await older.set(keyspace.ended_key(key.kid), "1")
    forged = GRANT.grant_id[::-1].replace("g", "f")
    before = sorted(await older.keys())
    told = portcullis(environment, "restore", "--force", str(file), fails=True)
    assert "--adopt-records" in told
    assert sorted(await older.keys()) == before
    await older.hset(keyspace.grant(forged), "record", Codec(Grant).dump(GRANT))
    done = forks.run("portcullis", "restore", "--force", "--adopt-records", str(file), environment=environment)
    assert done.returncode == 0, done.stderr
    assert "1 grant, 1 client" in done.stdout
    assert await GrantStore(older, RECORD_KEY).get(GRANT.grant_id) == GRANT
    assert await older.get(keyspace.SCHEMA) == str(schema.VERSION)
    assert bool(await older.exists(keyspace.KEYRING)) is not retired
    assert not await older.exists(keyspace.grant(forged))


async def test_a_backup_is_not_restored_over_newer_records_without_codes(
    older: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    file = tmp_path / "backup"
    portcullis(environment, "backup", str(file))
    before = await older.hgetall(keyspace.grant(GRANT.grant_id))
    told = portcullis(environment, "restore", "--force", "--adopt-records", str(file), fails=True)
    assert "portcullis migrate --adopt-records" in told
    assert await older.hgetall(keyspace.grant(GRANT.grant_id)) == before
    assert await older.get(keyspace.SCHEMA) == "2"
    portcullis(environment, "migrate", "--adopt-records", "--yes")
    portcullis(environment, "restore", "--force", "--adopt-records", str(file))
    assert await is_signed_in(older)


async def test_a_backup_of_this_version_adopts_nothing_even_if_it_claims_to_be_older(
    redis: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    """An attacker with write access to Redis can make the nightly backup contain any version and plain records."""
    await KeyRingStore(redis, master_key=MASTER_KEY_BYTES).open("ES256", now=0)
    await plain_records(redis)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    portcullis(environment, "restore", "--force", "--adopt-records", str(tmp_path / "backup"))
    assert not await is_signed_in(redis)


async def test_a_backup_with_an_old_key_ring_beside_records_of_this_version_is_refused(
    older: Redis, environment: dict[str, str], tmp_path: Path
) -> None:
    await older.set(keyspace.SCHEMA, VERSION)
    portcullis(environment, "backup", str(tmp_path / "backup"))
    for more in ([], ["--adopt-records"]):
        told = portcullis(environment, "restore", "--force", *more, str(tmp_path / "backup"), fails=True)
        assert "old key ring" in told
    assert not await is_signed_in(older)
