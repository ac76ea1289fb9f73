"""An interrupted restore leaves a gateway that refuses; a revocation during a restore stays in force."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.settings import BackupSettings, load
from oauth_core.store import keyspace
from oauth_core.store.connection import connect
from oauth_core.store.maintenance.schema import VERSION
from oauth_core.store.maintenance.snapshot import Snapshot
from oauth_core.store.records import revocation_cutoffs, tombstones
from oauth_core.store.records.key_ring import KeyRingStore
from oauth_core.store.records.users import UserStore
from portcullis.backup.key import BackupKey
from portcullis.backup.restoring import RestoreResult, examine, paused, restore
from tests.service.state.commands import operate
from tests.service.state.sign_ins import grant_of, signed_in
from tests.support import forks
from tests.support.master_key import RECORD_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from redis.asyncio import Redis

    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer


USER = 1_000_042


class Interruption(BaseException):
    """As if the process were killed."""


@asynccontextmanager
async def redis_of(web: WebServer) -> AsyncIterator[tuple[Redis, BackupSettings]]:
    settings = load(BackupSettings, None, web.environment)
    async with connect(settings) as redis:
        yield redis, settings


async def restored(
    web: WebServer,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    between: Callable[[], Awaitable[object]],
    *,
    tidies_up: bool = True,
) -> RestoreResult:
    """Run `portcullis restore --force`, with `between` run after Redis is cleared and before
    records are written.
    """
    clear = Snapshot.clear

    async def clear_then(self: Snapshot, **given: Any) -> frozenset[str]:
        kept = await clear(self, **given)
        await between()
        return kept

    async with redis_of(web) as (redis, settings), AsyncExitStack() as stack:
        key, ring = BackupKey.from_settings(settings), KeyRingStore(redis, master_key=settings.master_key_bytes)
        with monkeypatch.context() as patch, file.open("rb") as opened:
            patch.setattr(Snapshot, "clear", clear_then)
            examined = examine(opened, key, ring, adopt=False)
            if tidies_up:
                await stack.enter_async_context(paused(redis))
            else:
                await redis.set(keyspace.PAUSED, "a backup is being restored")
            return await restore(redis, opened, key, examined, ring, progress=lambda _: None)


@pytest.mark.parametrize("tidies_up", [True, False], ids=["fails", "is killed"])
async def test_a_gateway_with_an_interrupted_restore_refuses_until_a_second_run_finishes(
    web: WebServer,
    client: OAuthClient,
    backup: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    *,
    tidies_up: bool,
) -> None:
    client_id, tokens = await signed_in(client)
    file = backup()
    operate(web, "clients", "permissions", client_id, "--no-permissions")
    successor = (await client.refresh(client_id, tokens["refresh_token"])).json()

    async def interrupt() -> None:
        raise Interruption

    with pytest.raises(Interruption):
        await restored(web, file, monkeypatch, interrupt, tidies_up=tidies_up)
    assert (await client.refresh(client_id, successor["refresh_token"])).status_code == 503
    assert (await client.http.get(client.authorize_url(client_id, "x" * 43))).status_code == 503
    with web.redis.client() as redis:
        assert not redis.exists(keyspace.JWKS, keyspace.PLAIN_JWKS), "check services refuse every call"
    for command in (["resume"], ["clients", "list"], ["migrate"], ["backup", str(file.with_suffix(".new"))]):
        done = forks.run("portcullis", *command, environment=web.environment)
        assert done.returncode == 1
        assert "portcullis restore" in done.stderr
    another = forks.run("oauth_web", environment={**web.environment, "WEB_LISTEN": "127.0.0.1:1"})
    assert another.returncode == 2
    assert "portcullis restore" in another.stderr
    done = operate(web, "restore", "--force", str(file))
    assert "1 key ring." in done.stdout
    assert "stayed as they are now" in done.stdout
    assert (await client.refresh(client_id, successor["refresh_token"])).status_code == 200, "the newer one stayed"
    assert operate(web, "clients", "permissions", client_id).stdout == "none\n"
    with web.redis.client() as redis:
        assert redis.get(keyspace.SCHEMA) == str(VERSION)
        assert not redis.exists(keyspace.PAUSED)


async def test_after_an_interruption_another_backup_replaces_the_records_of_the_first(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id, _ = await signed_in(client)
    older = backup().rename(backup().with_name("older"))
    operate(web, "clients", "permissions", client_id, "--no-permissions")
    newer = backup()
    with web.redis.client() as redis:
        redis.delete(keyspace.client(client_id))

    async def interrupt(*_: object) -> None:
        raise Interruption

    with monkeypatch.context() as patch:
        patch.setattr("oauth_core.store.maintenance.schema.SchemaStore.bring_up", interrupt)
        with pytest.raises(Interruption):
            await restored(web, older, monkeypatch, lambda: asyncio.sleep(0))
    operate(web, "restore", "--force", str(newer))
    assert operate(web, "clients", "permissions", client_id).stdout == "none\n"


async def test_a_person_who_is_erased_during_a_restore_is_not_brought_back(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    await signed_in(client)
    with web.redis.client() as redis:
        (key,) = (key for key in redis.keys("user:*") if "octocat" in str(redis.get(key)))
        github_id = int(key.partition(":")[2])
        file = backup()

        async def erase() -> None:
            # A command that began before the restore.
            async with redis_of(web) as (connection, _):
                await UserStore(connection, RECORD_KEY, lifetime=1).erase(github_id)

        await restored(web, file, monkeypatch, erase)
        of_person = (key, keyspace.contact(github_id), keyspace.notices(github_id))
        assert not redis.exists(*of_person)
        assert redis.exists(keyspace.ended_person(github_id))


async def test_revoking_a_refresh_token_before_its_grant_is_restored_is_not_reported_as_success(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id, tokens = await signed_in(client)
    file = backup()
    form = {"client_id": client_id, "token": tokens["refresh_token"]}
    with web.redis.client() as redis:
        redis.delete(keyspace.grant(grant_of(tokens)))
    answers = []

    async def revoke() -> None:
        answers.append(await client.http.post(f"{client.issuer}/revoke", data=form))

    await restored(web, file, monkeypatch, revoke)
    assert answers[0].status_code == 503
    assert answers[0].headers["Retry-After"]
    assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 400


async def test_a_revocation_during_a_restore_stays_in_force(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client_id, tokens = await signed_in(client)
    async with redis_of(web) as (redis, _):
        await redis.set(keyspace.cutoff_of_user(USER), 100, ex=10_000)
        await redis.set(keyspace.login("somebody"), "as it was")
        file = backup()
        await redis.delete(keyspace.client(client_id), keyspace.cutoff_of_user(USER))
        now = []

        async def end() -> None:
            await revocation_cutoffs.set_cutoff(redis, keyspace.cutoff_of_user(USER))
            now.append(await redis.get(keyspace.cutoff_of_user(USER)))
            await tombstones.write(redis, keyspace.ended_client(client_id))
            await redis.set(keyspace.login("somebody"), "as an operator agreed")

        await restored(web, file, monkeypatch, end)
        assert [await redis.get(keyspace.cutoff_of_user(USER))] == now
        assert await redis.ttl(keyspace.cutoff_of_user(USER)) > 10_000
        assert await redis.get(keyspace.login("somebody")) == "as an operator agreed"
        assert not await redis.exists(keyspace.client(client_id), keyspace.grant(grant_of(tokens)))
