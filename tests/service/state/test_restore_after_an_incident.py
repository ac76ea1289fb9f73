"""A backup restored after an incident: revocations stay in force, and everything is checked beforehand."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import jwt
import pytest

from oauth_core.flows.notices import NOTICE_LIFETIME
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.store import keyspace
from oauth_core.store.maintenance.schema import VERSION
from portcullis.backup.file import BackupWriter, read_header, read_pieces
from portcullis.backup.key import BackupKey
from tests.service.state.commands import new_key, operate
from tests.service.state.sign_ins import grant_of, signed_in
from tests.support import forks
from tests.support.authz_process import CONFIG, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.oauth_client import OAuthClient, Pkce, form_value
from tests.support.redis_groups import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.web_process import WebServer


async def account(client: OAuthClient, action: str, grant: str) -> None:
    page = (await client.http.get(f"{client.issuer}/account")).text
    form = {"form_token": form_value(page, "form_token"), "grant": grant}
    assert (await client.http.post(f"{client.issuer}/account/{action}", data=form)).status_code == 303


async def by_command(web: WebServer, *arguments: str) -> None:
    operate(web, *arguments)


ENDINGS: dict[str, Any] = {
    "everybody": lambda web, _c, _id, _t: by_command(web, "tokens", "revoke", "--all", "--yes"),
    "the person": lambda web, _c, _id, _t: by_command(web, "users", "revoke", "octocat"),
    "a block": lambda web, _c, _id, _t: by_command(web, "users", "block", "octocat"),
    "the client": lambda web, _c, client_id, _t: by_command(web, "clients", "revoke", client_id),
    "its registration": lambda web, _c, client_id, _t: by_command(web, "clients", "delete", client_id),
    "the grant": lambda web, _c, _id, tokens: by_command(web, "grants", "revoke", grant_of(tokens)),
    "by the client": lambda _w, client, client_id, tokens: client.http.post(
        f"{client.issuer}/revoke", data={"client_id": client_id, "token": tokens["refresh_token"]}
    ),
    "by the person": lambda _w, client, _id, tokens: account(client, "disconnect", grant_of(tokens)),
    "every app by the person": lambda _w, client, _id, tokens: account(client, "disconnect-all", grant_of(tokens)),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_revocation_after_the_backup_survives_a_restore_into_a_running_gateway(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], ending: str
) -> None:
    client_id, tokens = await signed_in(client)
    _, bystanders = await signed_in(client)
    file = backup()
    await ENDINGS[ending](web, client, client_id, tokens)
    done = operate(web, "restore", "--force", str(file))
    assert "everybody.revoked, user.blocked" in done.stderr, "what it could not know"
    refused = await client.refresh(client_id, tokens["refresh_token"])
    assert refused.status_code in {400, 401}, refused.text
    with web.redis.client() as redis:
        assert not redis.exists(keyspace.grant(grant_of(tokens)))
        stays = ending in {"the client", "its registration", "the grant", "by the client", "by the person"}
        assert bool(redis.exists(keyspace.grant(grant_of(bystanders)))) is stays


async def test_notices_from_before_the_backup_and_since_can_be_read(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    _, tokens = await signed_in(client)
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    key = keyspace.notices(int(claims["sub"]))
    with web.redis.client() as redis:
        before = redis.hgetall(key)
        file = backup()
        await account(client, "disconnect", grant_of(tokens))
        since = redis.hgetall(key)
        assert since != before
        operate(web, "restore", "--force", str(file))
        assert redis.hgetall(key) == since, "which is newer than the backup"
        redis.delete(key)
        operate(web, "restore", "--force", str(file))
        assert redis.hgetall(key) == before
        assert 0 < redis.ttl(key) <= NOTICE_LIFETIME


async def test_a_restore_removes_no_mail_address_and_brings_those_of_the_backup_back(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    await signed_in(client)
    before, since = keyspace.contact(7_000_001), keyspace.contact(7_000_002)
    with web.redis.client() as redis:
        redis.set(before, "an encrypted address")
        file = backup()
        redis.delete(before)
        redis.set(since, "another one")
        operate(web, "restore", "--force", str(file))
        assert (redis.get(before), redis.get(since)) == ("an encrypted address", "another one")
        redis.delete(before, since)


async def test_an_older_backup_does_not_bring_an_erased_person_back(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    await signed_in(client)
    with web.redis.client() as redis:
        (key,) = (key for key in redis.keys("user:*") if "octocat" in str(redis.get(key)))
        github_id = int(key.partition(":")[2])
        redis.set(keyspace.contact(github_id), "an address, sealed")
        redis.set("user:1", redis.get(key))  # another person, who was not erased
        of_person = [keyspace.user(github_id), keyspace.contact(github_id), keyspace.notices(github_id)]
        assert redis.exists(*of_person) == 3
        old = backup()
        operate(web, "users", "erase", f"id:{github_id}", "--yes")
        redis.delete("user:1")
        operate(web, "restore", str(old), "--force")
        assert redis.exists(*of_person) == 0
        assert redis.exists("user:1") == 1
        redis.delete("user:1")


async def test_a_later_backup_brings_a_person_back_who_signed_in_again_after_the_erasure(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    await signed_in(client)
    with web.redis.client() as redis:
        (key,) = (key for key in redis.keys("user:*") if "octocat" in str(redis.get(key)))
        tombstone = keyspace.ended_person(int(key.partition(":")[2]))
        redis.set(tombstone, 1_000_000_000)  # long before this backup
        file = backup()
        redis.delete(key)
        operate(web, "restore", "--force", str(file))
        assert redis.exists(key) == 1


@pytest.mark.parametrize("way", ["nothing", "forget", "forget-all", "disconnect"])
async def test_a_consent_that_a_person_forgot_after_the_backup_is_not_restored(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], way: str
) -> None:
    pkce, uri = Pkce.fresh(), "https://app.example/cb"
    client_id = (await client.register(redirect_uris=[uri])).client_id
    url = client.authorize_url(client_id, pkce.challenge, redirect_uri=uri)
    await client.authorize(url)
    form = {**await client.consent_form(url), "decision": "allow", "remember": "yes"}
    came_back = await client.http.post(f"{client.issuer}/authorize/consent", data=form)
    code = came_back.headers["Location"].partition("code=")[2].partition("&")[0]
    tokens = (await client.redeem(client_id, code, pkce.verifier, redirect_uri=uri)).json()
    file = backup()
    if way != "nothing":
        form_token = form_value((await client.http.get(f"{client.issuer}/account")).text, "form_token")
        sent = {"form_token": form_token, "client": client_id, "grant": grant_of(tokens)}
        assert (await client.http.post(f"{client.issuer}/account/{way}", data=sent)).status_code == 303
    operate(web, "restore", "--force", str(file))
    await signed_in(client)  # backups contain no sessions
    assert (await client.http.get(url)).status_code == (302 if way == "nothing" else 200)


async def test_a_key_that_was_retired_after_the_backup_never_signs_again(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id, tokens = await signed_in(client)
    leaked = jwt.get_unverified_header(tokens["access_token"])["kid"]
    operate(web, "keys", "rotate")
    file = backup()
    operate(web, "keys", "retire", leaked, "--force")
    operate(web, "restore", "--force", str(file))
    assert leaked not in operate(web, "keys", "list").stdout
    async with asyncio.timeout(60):
        while leaked in (await client.http.get(f"{client.issuer}/.well-known/jwks.json")).text:
            pass
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_invitations_that_were_revoked_or_used_up_after_the_backup_are_void(
    web: WebServer, backup: Callable[[], Path]
) -> None:
    def invited(*options: str) -> dict[str, Any]:
        return dict(json.loads(operate(web, "clients", "invite", *options, "--json").stdout))

    revoked, twice = invited(), invited("--uses", "2")
    file = backup()
    operate(web, "clients", "revoke-invite", str(revoked["token_id"]))
    with web.redis.client() as redis:
        redis.hincrby(keyspace.initial_access_token(str(twice["token_id"])), "left", -1)
    operate(web, "restore", "--force", str(file))
    left = {
        row["token_id"]: row["left"] for row in json.loads(operate(web, "clients", "invites", "--json").stdout)
    }
    assert revoked["token_id"] not in left
    assert left[twice["token_id"]] == 1


async def test_permissions_that_were_reduced_after_the_backup_stay_reduced(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id = (await client.register()).client_id
    file = backup()
    operate(web, "clients", "permissions", client_id, "--no-permissions")
    operate(web, "restore", "--force", str(file))
    assert operate(web, "clients", "permissions", client_id).stdout == "none\n"


async def test_a_client_that_refreshed_after_the_backup_continues(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id, tokens = await signed_in(client)
    file = backup()
    newer = (await client.refresh(client_id, tokens["refresh_token"])).json()
    newest = (await client.refresh(client_id, newer["refresh_token"])).json()
    operate(web, "restore", "--force", str(file))
    assert (await client.refresh(client_id, newest["refresh_token"])).status_code == 200


async def test_after_a_loss_of_redis_a_client_that_refreshed_since_must_sign_in_again_and_is_no_thief(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id, tokens = await signed_in(client)
    file = backup()
    newer = (await client.refresh(client_id, tokens["refresh_token"])).json()
    with web.redis.client() as redis:
        redis.flushall()
    operate(web, "restore", "--force", str(file))
    so_far = web.log.read_text().count("refresh.reused")
    refused = await client.refresh(client_id, newer["refresh_token"])
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert web.log.read_text().count("refresh.reused") == so_far
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 400, "the family has ended"
    assert (await signed_in(client))[1]["access_token"]


def made_older(file: Path, web: WebServer, *, days: int = 0, schema: int | None = None) -> None:
    """Rewrite the backup as one that was made `days` days earlier, or with records of another version."""
    key = BackupKey("MASTER_KEY", b64decode(web.environment["MASTER_KEY"]))
    with file.open("rb") as old:
        header, line = read_header(old)
        pieces = list(read_pieces(old, header, line, key))
    with file.open("wb") as new:
        created_at = header.created_at - days * 86_400
        version = header.schema if schema is None else schema
        writer = BackupWriter(new, replace(header, created_at=created_at, schema=version), key)
        for piece in pieces:
            writer.add(piece)
        writer.end()


OLDER = range(VERSION)


@pytest.mark.parametrize("version", OLDER)
@pytest.mark.parametrize("older", ["backup", "redis"])
async def test_a_restore_between_versions_keeps_later_permissions_and_refreshes(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path], older: str, version: int
) -> None:
    client_id, tokens = await signed_in(client)
    waiting = (await client.register()).client_id
    with web.redis.client() as redis:
        redis.expire(keyspace.client(waiting), 7_776_000)  # as for an invited client
    file = backup()
    operate(web, "clients", "permissions", client_id, "--no-permissions")
    newer = (await client.refresh(client_id, tokens["refresh_token"])).json()
    newest = (await client.refresh(client_id, newer["refresh_token"])).json()
    if older == "backup":
        made_older(file, web, schema=version)
    else:
        with web.redis.client() as redis:
            redis.set(keyspace.SCHEMA, version)
    operate(web, "restore", "--force", str(file))
    assert operate(web, "clients", "permissions", client_id).stdout == "none\n"
    assert (await client.refresh(client_id, newest["refresh_token"])).status_code == 200
    with web.redis.client() as redis:
        assert redis.get(keyspace.SCHEMA) == str(VERSION)
        assert (redis.ttl(keyspace.client(waiting)) > 604_800) is (older == "backup" or version == VERSION)


async def test_a_redis_with_records_of_a_newer_version_is_not_restored_into(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id, tokens = await signed_in(client)
    file = backup()
    with web.redis.client() as redis:
        redis.set(keyspace.SCHEMA, VERSION + 1)
        try:
            done = forks.run("portcullis", "restore", "--force", str(file), environment=web.environment)
            assert done.returncode == 1
            assert f"Redis has records of version {VERSION + 1}" in done.stderr
            assert redis.get(keyspace.SCHEMA) == str(VERSION + 1)
        finally:
            redis.set(keyspace.SCHEMA, VERSION)
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200, "nothing has changed"


async def test_the_tombstone_of_a_grant_is_kept_as_long_as_a_backup_may_be_restored(
    web: WebServer, client: OAuthClient
) -> None:
    client_id, tokens = await signed_in(client)
    await client.http.post(
        f"{client.issuer}/revoke", data={"client_id": client_id, "token": tokens["refresh_token"]}
    )
    with web.redis.client() as redis:
        assert 0 < redis.ttl(keyspace.ended_grant(grant_of(tokens))) <= 30 * 86_400


async def test_a_too_old_backup_is_refused_when_redis_has_records(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id, tokens = await signed_in(client)
    file = backup()
    made_older(file, web, days=31)
    refused = forks.run("portcullis", "restore", "--force", str(file), environment=web.environment)
    assert refused.returncode == 1
    assert "more than 30 days ago (server.backup_days)" in refused.stderr
    assert "Restore a newer backup" in refused.stderr
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200, "nothing has changed"
    operate(web, "restore", "--force", str(file), BACKUP_DAYS="40")
    with web.redis.client() as redis:
        redis.flushdb()
    done = operate(web, "restore", "--force", str(file))
    assert "look in the audit log" in done.stderr
    with web.redis.client() as redis:
        assert redis.exists(keyspace.grant(grant_of(tokens)))


async def test_a_backup_of_another_master_key_changes_nothing(
    web: WebServer, client: OAuthClient, backup: Callable[[], Path]
) -> None:
    client_id, tokens = await signed_in(client)
    key = new_key()
    file = backup()
    operate(web, "backup", str(file), BACKUP_KEY=key)
    another = {**web.environment, "MASTER_KEY": new_key(), "BACKUP_KEY": key}
    done = forks.run("portcullis", "restore", "--force", str(file), environment=another)
    assert done.returncode == 1
    assert "nothing was restored" in done.stderr
    assert "another MASTER_KEY" in done.stderr
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_while_sign_ins_are_paused_nothing_is_issued_and_tokens_can_be_revoked(
    web: WebServer, client: OAuthClient
) -> None:
    client_id, tokens = await signed_in(client)
    operate(web, "pause", "--reason", "moving house")
    try:
        refused: httpx2.Response = await client.refresh(client_id, tokens["refresh_token"])
        assert (refused.status_code, refused.json()["error"]) == (503, "temporarily_unavailable")
        assert "moving house" in refused.text
        assert int(refused.headers["Retry-After"]) > 0
        page = await client.http.get(client.authorize_url(client_id, "c" * 43))
        assert page.status_code == 503
        assert "moving house" in page.text
        assert (await client.http.post(f"{client.issuer}/register", json={})).status_code == 503
        assert (await client.http.get(f"{client.issuer}/healthz")).status_code == 200
        form = {"client_id": client_id, "token": tokens["access_token"]}
        assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    finally:
        operate(web, "resume")
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_a_gateway_whose_redis_lost_everything_works_again_without_a_restart(
    web: WebServer, client: OAuthClient
) -> None:
    _, before = await signed_in(client)
    with checks(web) as status:
        await asyncio.to_thread(until, lambda: status(before) == 200)
        with web.redis.client() as redis:
            redis.flushall()
        await asyncio.to_thread(until, lambda: status(before) == 401)
        # The token may be gone before the keys are: the server is healthy again once they are published.
        await asyncio.to_thread(until, lambda: httpx2.get(f"{client.issuer}/healthz").status_code == 200)
        client_id, tokens = await signed_in(client)
        await asyncio.to_thread(until, lambda: status(tokens) == 200)
        assert status(before) == 401
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_a_gateway_without_published_keys_is_unhealthy(web: WebServer, client: OAuthClient) -> None:
    operate(web, "pause")  # so that the keys are not published again
    try:
        with web.redis.client() as redis:
            document = redis.getdel(keyspace.JWKS)
            assert (await client.http.get(f"{client.issuer}/healthz")).status_code == 503
            redis.set(keyspace.JWKS, str(document))
    finally:
        operate(web, "resume")
    assert (await client.http.get(f"{client.issuer}/healthz")).status_code == 200


@contextmanager
def checks(web: WebServer) -> Iterator[Callable[[dict[str, Any]], int]]:
    """A check service of this gateway: the status of a call with an access token."""
    environment = {
        "REDIS_URL": web.redis.url(),
        "REDIS_PASSWORD": str(web.redis.password),
        "JWKS_VERIFICATION_KEY": KeySetSigner(b64decode(web.environment["MASTER_KEY"])).verification_key,
    }
    with running_authz(environment, config=CONFIG.replace("http://localhost:8080", web.issuer)) as authz:
        host = web.issuer.partition("//")[2]
        yield (
            lambda tokens: read_answer(authz.check(check_request(token=tokens["access_token"], host=host))).status
        )


async def test_disconnecting_every_app_voids_a_code_that_was_just_issued(
    web: WebServer, client: OAuthClient
) -> None:
    await signed_in(client)
    await signed_in(client)
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(client_id, pkce.challenge))
    await account(client, "disconnect-all", "")
    assert (await client.redeem(client_id, came_back["code"], pkce.verifier)).status_code == 400
    assert (await client.http.get(f"{client.issuer}/account")).text.count("You are signed in as") == 1
