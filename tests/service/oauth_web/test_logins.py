"""A login on a list means one account, also after GitHub gave the login to another account."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.settings import WebSettings, load
from portcullis.github_standin.people import find
from tests.service.oauth_web.issued_tokens import alive
from tests.support import forks
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.web_process import WebServer, running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

ROLES = """
[roles.time]
permissions = ["mcp.time"]
users = ["alice"]

[roles.notes]
permissions = ["mcp.notes"]
orgs = ["acme"]
"""


def account(login: str) -> int:
    """The id of the account that was made with this login at the stand-in."""
    person = find(login)
    assert person is not None
    return person.id


ALICE, MALLORY = account("alice"), account("mallory")


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """Allows alice by login. There is no membership schedule."""
    settings = {"ALLOWED_GITHUB_USERS": "alice", "MEMBERSHIP_CHECK_INTERVAL": "0"}
    with running_web(settings) as server:
        yield server


@pytest.fixture(autouse=True)
def nothing_is_remembered(web: WebServer) -> Iterator[None]:
    yield
    web.now_at_github({})
    with web.redis.client() as redis:
        redis.delete("login:alice")


def alice_is_another_account_now(web: WebServer) -> None:
    web.now_at_github({"alice": {"@login": "alice-before"}, "mallory": {"@login": "Alice"}})


async def came_back(address: str, made_as: str) -> dict[str, str]:
    async with OAuthClient(address) as client:
        url = client.authorize_url((await client.register()).client_id, Pkce.fresh().challenge)
        return await client.authorize(url, made_as)


async def signed_in(client: OAuthClient, made_as: str) -> tuple[str, dict[str, Any]]:
    registration, pkce = await client.register(), Pkce.fresh()
    back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), made_as)
    answer = await client.redeem(registration.client_id, back["code"], pkce.verifier)
    return registration.client_id, answer.json()


def events(web: WebServer, name: str) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in web.log.read_text().splitlines() if f'"{name}"' in line]
    return [record for record in records if record["event"] == name]


def users(web: WebServer, *arguments: str) -> dict[str, Any]:
    done = forks.run("portcullis", "users", *arguments, "--json", environment=web.environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def claims_of(tokens: dict[str, Any]) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return claims


async def test_another_account_with_a_listed_login_is_refused_until_an_operator_accepts_it(web: WebServer) -> None:
    async with OAuthClient(web.issuer) as client:
        _, of_alice = await signed_in(client, "alice")
    alice_is_another_account_now(web)
    assert (await came_back(web.issuer, "mallory"))["error"] == "access_denied"
    event = events(web, "login.changed_hands")[-1]
    assert (event["user"], event["user_id"]) == ("Alice", MALLORY)
    assert f"portcullis users accept Alice#{MALLORY}" in event["reason"]
    assert alive(web, of_alice["access_token"]), "another person with the login ends nothing of the listed account"

    ended = users(web, "accept", f"Alice#{MALLORY}")
    assert ended["grants_ended"] == 1
    assert not alive(web, of_alice["access_token"])
    with web.redis.client() as redis:  # the second of the refusal is over
        redis.delete(*redis.keys("cut:*"))
    async with OAuthClient(web.issuer) as client:
        _, of_mallory = await signed_in(client, "mallory")
        assert claims_of(of_mallory)["github_id"] == MALLORY
    web.now_at_github({})
    assert (await came_back(web.issuer, "alice"))["error"] == "access_denied"


async def test_a_person_allowed_otherwise_does_not_get_the_role_of_a_login_that_changed_hands() -> None:
    settings = {"ALLOWED_GITHUB_USERS": "*", "MEMBERSHIP_CHECK_INTERVAL": "0"}
    with running_web(settings, more=ROLES) as web:
        assert "code" in await came_back(web.issuer, "alice")
        alice_is_another_account_now(web)
        assert (await came_back(web.issuer, "mallory"))["error"] == "access_denied"
        assert len(events(web, "login.changed_hands")) == 1


async def test_a_listed_account_is_allowed_under_any_login() -> None:
    settings = {"ALLOWED_GITHUB_USERS": f"alice#{ALICE}", "MEMBERSHIP_CHECK_INTERVAL": "0"}
    with running_web(settings) as web:
        alice_is_another_account_now(web)
        assert "code" in await came_back(web.issuer, "alice")
        assert (await came_back(web.issuer, "mallory"))["error"] == "access_denied"
        assert events(web, "login.changed_hands") == []


async def test_old_grants_follow_a_renamed_login() -> None:
    settings = {"ALLOWED_GITHUB_USERS": f"alice#{ALICE}", "MEMBERSHIP_CHECK_INTERVAL": "0"}
    with running_web(settings) as web:
        async with OAuthClient(web.issuer) as client:
            client_id, before = await signed_in(client, "alice")
            web.now_at_github({"alice": {"@login": "alice-before"}})
            assert claims_of(before)["github_user"] == "alice"
            await signed_in(client, "alice")
            assert not alive(web, before["access_token"]), "its token names a login that may be another person's"
            after = (await client.refresh(client_id, before["refresh_token"])).json()
            assert claims_of(after)["github_user"] == "alice-before"


async def test_grants_of_members_follow_a_renamed_login_without_a_sign_in() -> None:
    settings = {"ALLOWED_GITHUB_USERS": "", "ALLOWED_GITHUB_TEAMS": "acme/platform"}
    with running_web({**settings, "MEMBERSHIP_CHECK_INTERVAL": "0"}) as web:
        async with OAuthClient(web.issuer) as client:
            client_id, before = await signed_in(client, "marek")
            web.now_at_github({"marek": {"@login": "marek-new"}})
            after = (await client.refresh(client_id, before["refresh_token"])).json()
            assert (claims_of(after)["github_user"], claims_of(after)["groups"]) == (
                "marek-new",
                ["acme/platform"],
            )
            assert not alive(web, before["access_token"])


async def test_a_refresh_under_a_login_that_now_means_another_account_ends_the_grant(web: WebServer) -> None:
    """With a list no GitHub token is stored, so GitHub cannot be asked; the operator's acceptance counts."""
    key = load(WebSettings, None, web.environment).record_key
    async with OAuthClient(web.issuer) as client:
        client_id, of_alice = await signed_in(client, "alice")
        with web.redis.client() as redis:
            redis.set("login:alice", key.sign("login:alice", str(MALLORY)))
        assert (await client.refresh(client_id, of_alice["refresh_token"])).json()["error"] == "invalid_grant"
        assert not alive(web, of_alice["access_token"])
        event = events(web, "login.changed_hands")[-1]
        assert (event["user"], event["user_id"]) == ("alice", ALICE)


async def test_a_forged_record_of_a_logins_account_allows_no_refresh(web: WebServer) -> None:
    async with OAuthClient(web.issuer) as client:
        client_id, of_alice = await signed_in(client, "alice")
        with web.redis.client() as redis:
            redis.set("login:alice", MALLORY)
        refused = await client.refresh(client_id, of_alice["refresh_token"])
        assert refused.json()["error"] == "invalid_grant"
        assert not alive(web, of_alice["access_token"])


def test_the_accept_command_takes_only_a_login_with_an_account_id(web: WebServer) -> None:
    for wrong in ("alice", "alice#", "alice#x", "#5", "alice#0", "a b#5", "*", "alice#5#6"):
        done = forks.run("portcullis", "users", "accept", wrong, environment=web.environment)
        assert done.returncode == 2, done.stdout
