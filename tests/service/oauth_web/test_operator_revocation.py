"""Revocation by operators' commands: of a person, a client, a token, and of all people (row R65), and races
against it.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.model import Block
from oauth_core.store import keyspace
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.revocation import Revocation
from oauth_core.store.records.users import UserStore
from tests.support import device_flow, forks
from tests.support.master_key import RECORD_KEY
from tests.support.oauth_client import OAuthClient, Pkce, form_value
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from redis.asyncio import Redis

    from tests.support.oauth_client import Registration


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """A server for this module: some of these tests revoke everything."""
    with running_web({"ALLOWED_GITHUB_USERS": "*"}) as server:
        yield server


def operate(web: WebServer, *arguments: str, given: str = "", expect: int = 0) -> Any:
    done = forks.run("portcullis", *arguments, "--json", environment=web.environment, given=given or "")
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if expect == 0 else done.stderr


def claims_of(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def signed_in(client: OAuthClient, login: str) -> tuple[str, dict[str, Any]]:
    registration, pkce = await client.register(), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    return registration.client_id, (
        await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    ).json()


async def lives(redis: Redis, tokens: dict[str, Any]) -> bool:
    return bool(await redis.exists(f"token:{claims_of(tokens['access_token'])['jti']}"))


async def test_a_blocked_person_loses_all_access_at_once_and_is_refused_until_unblocked(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, tokens = await signed_in(client, "blockhead")
    _, others = await signed_in(client, "bystander")
    answer = operate(web, "users", "block", "BlockHead", "--reason", "stolen laptop")
    assert (answer["login"], answer["grants_ended"]) == ("blockhead", 1)
    assert not await lives(redis, tokens)
    assert await lives(redis, others)
    assert (await client.refresh(client_id, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    async with OAuthClient(web.issuer) as elsewhere:
        registration = await elsewhere.register()
        url = elsewhere.authorize_url(registration.client_id, Pkce.fresh().challenge)
        assert (await elsewhere.authorize(url, "blockhead"))["error"] == "access_denied"
    shown = operate(web, "users", "show", str(answer["id"]))
    assert (shown["blocked"], shown["blocked_reason"], shown["grants"]) == (True, "stolen laptop", [])
    assert answer["id"] in {row["id"] for row in operate(web, "users", "list") if row["blocked"]}
    operate(web, "users", "unblock", "blockhead")
    operate(web, "users", "unblock", "blockhead", expect=1)
    await redis.delete(keyspace.cutoff_of_user(answer["id"]))  # the second it was made is over
    async with OAuthClient(web.issuer) as elsewhere:
        _, again = await signed_in(elsewhere, "blockhead")
    assert await lives(redis, again)


async def test_revoking_a_person_ends_pending_codes_too_and_a_new_sign_in_is_possible(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    _, tokens = await signed_in(client, "rhea")
    registration, pkce = await client.register(), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), "rhea")
    assert operate(web, "users", "revoke", "rhea")["grants_ended"] == 1
    assert not await lives(redis, tokens)
    late = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    assert (late.status_code, late.json()["error"]) == (400, "invalid_grant")
    assert operate(web, "users", "show", "rhea")["grants"] == []
    await redis.delete(f"cut:user:{claims_of(tokens['access_token'])['sub']}")  # the second it was made is over
    _, again = await signed_in(client, "rhea")
    assert await lives(redis, again)


async def test_a_device_that_a_blocked_person_allowed_gets_no_token(web: WebServer, client: OAuthClient) -> None:
    client_id = await device_flow.registered(client)
    codes = await device_flow.started(client, client_id)
    await device_flow.approved(client, codes["user_code"], "dora")
    operate(web, "users", "block", str(operate(web, "users", "show", "dora")["id"]))
    answer = await device_flow.polled(client, client_id, codes["device_code"])
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
    assert operate(web, "users", "show", "dora")["grants"] == []


async def test_revoking_a_client_ends_its_grants_and_keeps_its_registration(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, tokens = await signed_in(client, "carl")
    _, others = await signed_in(client, "carl")
    assert operate(web, "clients", "revoke", client_id)["grants_ended"] == 1
    assert not await lives(redis, tokens)
    assert await lives(redis, others)
    assert (await client.refresh(client_id, tokens["refresh_token"])).json()["error"] == "invalid_grant"
    assert operate(web, "clients", "show", client_id)["client_id"] == client_id
    operate(web, "clients", "revoke", "x" * 22, expect=1)


@asynccontextmanager
async def refusing(redis: Redis, key: str) -> AsyncIterator[None]:
    """Redis refuses every command on the hash or text at `key`, as if its node were away."""
    await redis.rename(key, "aside")
    await redis.rpush(key, "neither")
    try:
        yield
    finally:
        await redis.rename("aside", key)


async def two_grants_of_one_client(web: WebServer) -> tuple[Registration, list[dict[str, Any]]]:
    """The revocation reaches the earlier of the two first."""
    async with OAuthClient(web.issuer) as client, OAuthClient(web.issuer) as elsewhere:
        registration, tokens = await client.register(), []
        for one, login in ((client, "first"), (elsewhere, "second")):
            pkce = Pkce.fresh()
            came_back = await one.authorize(one.authorize_url(registration.client_id, pkce.challenge), login)
            answer = await one.redeem(registration.client_id, came_back["code"], pkce.verifier)
            tokens.append(answer.json())
    return registration, tokens


def grant_key(tokens: dict[str, Any]) -> str:
    return keyspace.grant(tokens["refresh_token"].partition(".")[0])


async def test_a_person_is_revoked_although_their_record_cannot_be_read_and_client_lifetimes_follow_the_settings(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, tokens = await signed_in(client, "unreadable")
    github_id = claims_of(tokens["access_token"])["github_id"]
    long = {**web.environment, "CLIENT_LIFETIME": "864000"}
    async with refusing(redis, keyspace.user(github_id)):
        done = forks.run("portcullis", "users", "revoke", f"id:{github_id}", environment=long)
    assert done.returncode == 0, done.stderr
    assert not await lives(redis, tokens)
    assert await redis.ttl(keyspace.client(client_id)) > 800_000
    await redis.delete(keyspace.cutoff_of_user(github_id))


@pytest.mark.parametrize("action", ["disconnect-all", "sign-out-everywhere"])
async def test_grants_that_ended_are_recorded_although_another_could_not_be_ended(
    web: WebServer, client: OAuthClient, redis: Redis, action: str
) -> None:
    """Of two grants, the earlier one cannot be ended."""
    login = f"partly-{action}"
    (_, kept), (_, ended) = await signed_in(client, login), await signed_in(client, login)
    page = (await client.http.get(f"{client.issuer}/account")).text
    async with refusing(redis, grant_key(kept)):
        form = {"form_token": form_value(page, "form_token")}
        assert (await client.http.post(f"{client.issuer}/account/{action}", data=form)).status_code == 503
    assert not await lives(redis, ended)
    recorded = [line for line in web.log.read_text().splitlines() if "grant.revoked" in line]
    assert any(ended["refresh_token"].partition(".")[0] in line for line in recorded)


async def test_an_app_is_disconnected_although_its_consent_cannot_be_deleted(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    _, tokens = await signed_in(client, "remembered")
    page = (await client.http.get(f"{client.issuer}/account")).text
    consents = keyspace.consents(claims_of(tokens["access_token"])["github_id"])
    await redis.set(consents, "there is something")
    async with refusing(redis, consents):
        form = {"form_token": form_value(page, "form_token"), "grant": tokens["refresh_token"].partition(".")[0]}
        assert (await client.http.post(f"{client.issuer}/account/disconnect", data=form)).status_code == 503
    await redis.delete(consents)
    assert not await lives(redis, tokens)


@pytest.mark.parametrize("by", ["the operator", "the client"])
async def test_a_deletion_that_failed_in_part_ends_the_rest_and_a_second_one_completes_it(
    web: WebServer, client: OAuthClient, redis: Redis, by: str
) -> None:
    registration, tokens = await two_grants_of_one_client(web)
    client_id = registration.client_id
    async with refusing(redis, grant_key(tokens[0])):
        if by == "the operator":
            assert "NOT everything has ended: 1 grants have" in operate(
                web, "clients", "delete", client_id, expect=1
            )
        else:
            url = f"{client.issuer}/register/{client_id}"
            assert (await client.http.delete(url, headers=registration.management)).status_code == 503
            assert "client deleted" in web.log.read_text()
    assert [await lives(redis, one) for one in tokens] == [True, False]
    assert await redis.exists(keyspace.cutoff_of_client(client_id)), "so that a sibling cannot refresh it"
    assert operate(web, "clients", "delete", client_id)["grants_ended"] == 1
    assert not await lives(redis, tokens[0])
    operate(web, "clients", "delete", client_id, expect=1)


async def test_a_client_is_deleted_although_its_tombstone_cannot_be_written(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, tokens = await signed_in(client, "nora")
    all_but_notes = [
        "client*",
        "grant:*",
        "token:*",
        "user-grants:*",
        "cut:*",
        "schema",
        "replicated*",
        "ended:{*",
    ]
    await redis.acl_setuser(
        "narrow", enabled=True, passwords=["+narrow"], categories=["+@all"], keys=all_but_notes
    )
    narrow = {"REDIS_URL": web.redis.url(user="narrow"), "REDIS_PASSWORD": "narrow"}
    done = forks.run("portcullis", "clients", "delete", client_id, environment={**web.environment, **narrow})
    assert done.returncode == 1
    assert "restored backup" in done.stderr
    assert not await redis.exists(keyspace.client(client_id))
    assert not await lives(redis, tokens)


async def test_revoking_a_client_with_its_siblings_ends_the_grants_of_all_users_of_an_app(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    """An app registers for each user. Another client with one difference keeps its grants."""
    same = {"client_name": "For each user", "software_version": "siblings"}
    made = [(await client.register(**same)).client_id for _ in range(3)]
    other = (await client.register(**same, client_uri="https://other.example")).client_id
    tokens = [await client.tokens(client_id) for client_id in (*made, other)]
    assert operate(web, "clients", "revoke", made[1], "--siblings")["grants_ended"] == 3
    assert [await lives(redis, one) for one in tokens] == [False, False, False, True]


async def test_a_token_is_revoked_by_its_id_or_its_text_and_a_forged_token_is_refused(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, tokens = await signed_in(client, "toni")
    jti = claims_of(tokens["access_token"])["jti"]
    forged = jwt.encode(claims_of(tokens["access_token"]), "x" * 32, "HS256", headers={"typ": "at+jwt"})
    operate(web, "tokens", "revoke", "-", given=forged, expect=1)
    assert await lives(redis, tokens)
    assert operate(web, "tokens", "show", "-", given=tokens["access_token"])["client_id"] == client_id
    assert jti in {row["jti"] for row in operate(web, "tokens", "list", "--client", client_id)}
    assert operate(web, "tokens", "revoke", jti) == {"revoked": "token", "jti": jti}
    assert not await lives(redis, tokens)
    operate(web, "tokens", "revoke", jti, expect=1)
    fresh = (await client.refresh(client_id, tokens["refresh_token"])).json()
    operate(web, "tokens", "revoke", "-", given=fresh["access_token"])
    assert not await lives(redis, fresh)
    assert operate(web, "tokens", "revoke", "-", given=f"{fresh['refresh_token']}\n")["revoked"] == "grant"
    assert (await client.refresh(client_id, fresh["refresh_token"])).status_code == 400


async def test_revoking_one_grant_keeps_the_other_grants_of_the_person(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, tokens = await signed_in(client, "greta")
    _, others = await signed_in(client, "greta")
    (grant,) = operate(web, "grants", "list", "--client", client_id)
    assert grant["user"] == "greta"
    assert len(operate(web, "grants", "list", "--user", str(grant["user_id"]))) == 2
    for name in (grant["user"], f"login:{grant['user']}", f"id:{grant['user_id']}"):
        assert len(operate(web, "grants", "list", "--user", name)) == 2
        assert len(operate(web, "tokens", "list", "--user", name)) == 2
    operate(web, "grants", "list", "--user", "nobody-of-that-name", expect=1)
    operate(web, "tokens", "show", "-", given="", expect=1)
    assert operate(web, "grants", "revoke", grant["grant_id"]) == grant
    assert not await lives(redis, tokens)
    assert await lives(redis, others)
    operate(web, "grants", "revoke", grant["grant_id"], expect=1)
    operate(web, "grants", "revoke", "*", expect=1)


async def test_a_numeric_login_is_not_used_as_an_id(web: WebServer, client: OAuthClient) -> None:
    _, tokens = await signed_in(client, "583231")
    github_id = claims_of(tokens["access_token"])["github_id"]
    assert "login:583231" in operate(web, "users", "block", "583231", expect=1)
    assert operate(web, "users", "show", "login:583231")["id"] == github_id
    assert operate(web, "users", "show", "id:583231")["login"] is None
    for nobody in ("never-seen", "login:", "id:x", "id:-1", "team:acme", "id:" + "9" * 30):
        operate(web, "users", "revoke", nobody, expect=1)


@pytest.mark.parametrize("text", ["", "*", "token:*", "a.b.c", "x" * 21, "../../x"])
async def test_a_text_that_is_no_token_id_is_not_looked_up(web: WebServer, text: str) -> None:
    operate(web, "tokens", "revoke", text or "-", given=text, expect=1)


async def test_revoking_everything_needs_the_option_and_a_confirmation(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    held = [(await signed_in(client, login))[1] for login in ("eve", "ezra")]
    operate(web, "tokens", "revoke", "--all", given="n\n", expect=130)
    operate(web, "tokens", "revoke", expect=2)
    operate(web, "tokens", "revoke", "x", "--all", "--yes", expect=2)
    assert all([await lives(redis, tokens) for tokens in held])
    assert operate(web, "tokens", "revoke", "--all", "--yes")["grants_ended"] >= 2
    assert [key async for key in redis.scan_iter("token:*")] == []
    assert [key async for key in redis.scan_iter("grant:*")] == []
    await redis.delete("cut:all")
    _, again = await signed_in(client, "eve")
    assert await lives(redis, again)


async def test_a_block_concurrent_with_sign_ins_and_refreshes_leaves_no_active_token(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    users, grants = UserStore(redis, RECORD_KEY, lifetime=600), GrantStore(redis, RECORD_KEY)
    client_id, tokens = await signed_in(client, "racer")
    github_id = claims_of(tokens["access_token"])["github_id"]
    for pause in (0.0, 0.002, 0.005, 0.01, 0.02):
        registration, pkce = await client.register(), Pkce.fresh()
        url = client.authorize_url(registration.client_id, pkce.challenge)
        code = (await client.authorize(url, "racer"))["code"]

        async def block(pause: float = pause) -> None:
            await asyncio.sleep(pause)
            await Revocation(redis, grants).block(Block(github_id, 1))

        answers = await asyncio.gather(
            client.redeem(registration.client_id, code, pkce.verifier),
            *(client.refresh(client_id, tokens["refresh_token"]) for _ in range(3)),
            block(),
        )
        given = [answer.json() for answer in answers if answer is not None and answer.is_success]
        assert not any([await lives(redis, answer) for answer in given])
        assert await grants.of_user(github_id) == ()
        await users.unblock(github_id)
        await redis.delete(keyspace.cutoff_of_user(github_id))  # the next sign-in may come within the same second
        client_id, tokens = await signed_in(client, "racer")


async def test_revoking_everything_ends_sessions_and_remembered_consents(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    await signed_in(client, "sleeper")
    page = f"{web.issuer}/account"
    assert "<strong>sleeper</strong>" in (await client.http.get(page)).text
    await redis.hset("consents:1", "some-client", "{}")
    operate(web, "tokens", "revoke", "--all", "--yes")
    assert "Sign in with GitHub" in (await client.http.get(page)).text
    assert not [key async for key in redis.scan_iter("consents:*")]
    assert not [key async for key in redis.scan_iter("session:*")]
    await redis.delete("cut:all")


async def test_a_session_from_before_a_cutoff_is_invalid_even_if_it_still_exists(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    await signed_in(client, "overlooked")
    held = {key: await redis.get(key) for key in [key async for key in redis.scan_iter("session:*")]}
    operate(web, "users", "revoke", "overlooked")
    for key, record in held.items():
        await redis.set(key, str(record))
    assert "Sign in with GitHub" in (await client.http.get(f"{web.issuer}/account")).text


async def test_revoking_a_client_deletes_every_remembered_consent_to_it(
    web: WebServer, client: OAuthClient, redis: Redis
) -> None:
    client_id, _ = await signed_in(client, "asker")
    await redis.hset("consents:1", mapping={client_id: "{}", "another-client": "{}"})
    operate(web, "clients", "revoke", client_id)
    assert await redis.hkeys("consents:1") == ["another-client"]
    await redis.delete("consents:1")
