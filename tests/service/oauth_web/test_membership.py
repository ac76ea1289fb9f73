"""Members of organisations and teams are eligible for as long as they are members (rows R9 to R11)."""

from __future__ import annotations

import asyncio
import base64
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from oauth_core.crypto.sealing import read_key, seal
from tests.service.oauth_web.issued_tokens import alive
from tests.support.http_servers import serving
from tests.support.master_key import change_record, read_record
from tests.support.oauth_client import OAuthClient, Pkce
from tests.support.ports import free_port
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CHALLENGE = Pkce.fresh().challenge


@pytest.fixture(scope="module")
def web() -> Iterator[WebServer]:
    """Allows octocat, the organisation acme, and one team of another organisation."""
    with running_web(
        {
            "ALLOWED_GITHUB_USERS": "octocat",
            "ALLOWED_GITHUB_ORGS": "ACME",
            "ALLOWED_GITHUB_TEAMS": "birdwatchers/none",
            "MEMBERSHIP_CHECK_INTERVAL": "0",  # this module is about refreshes
        }
    ) as server:
        yield server


@pytest.fixture
async def client(web: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(web.issuer) as client:
        yield client


async def come_back(client: OAuthClient, login: str) -> dict[str, str]:
    registration = await client.register()
    return await client.authorize(client.authorize_url(registration.client_id, CHALLENGE), login)


@pytest.mark.parametrize("login", ["octocat", "marek", "octavia"])
async def test_listed_users_and_members_are_allowed(client: OAuthClient, login: str) -> None:
    assert "code" in await come_back(client, login)


@pytest.mark.parametrize("login", ["ines", "tove", "stranger"])
async def test_invited_people_and_outside_collaborators_are_refused(client: OAuthClient, login: str) -> None:
    assert (await come_back(client, login))["error"] == "access_denied"


async def test_a_team_allows_its_members_and_not_its_whole_organisation() -> None:
    with running_web({"ALLOWED_GITHUB_USERS": "", "ALLOWED_GITHUB_TEAMS": "acme/On-Call"}) as server:
        for login, comes_in in (("octavia", True), ("marek", False), ("octocat", False)):
            async with OAuthClient(server.issuer) as client:
                assert ("code" in await come_back(client, login)) is comes_in


async def test_a_github_token_without_the_org_scope_is_reported_and_does_not_count_as_no_member(
    client: OAuthClient,
) -> None:
    """The user, or a program in their browser, removes `read:org` from the request to GitHub."""
    registration = await client.register()
    url = client.authorize_url(registration.client_id, CHALLENGE)
    client.rewrite_github = lambda location: location.replace("read%3Aorg", "")
    came_back = await client.authorize(url, "marek")
    assert came_back["error"] == "access_denied"
    assert "read:org" in came_back["error_description"]


async def signed_in(client: OAuthClient, login: str) -> tuple[str, dict[str, Any]]:
    registration, pkce = await client.register(), Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    answer = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    return registration.client_id, answer.json()


async def refresh_at(address: str, client_id: str, refresh_token: str) -> tuple[int, dict[str, Any]]:
    async with OAuthClient(address) as elsewhere:
        answer = await elsewhere.refresh(client_id, refresh_token)
        return answer.status_code, answer.json()


@pytest.mark.parametrize(
    ("login", "settings", "stays"),
    [
        ("octocat", {}, True),
        ("octocat", {"ALLOWED_GITHUB_USERS": "somebody-else"}, False),
        ("marek", {}, True),
        ("marek", {"ALLOWED_GITHUB_ORGS": "birdwatchers"}, False),
        ("marek", {"ALLOWED_GITHUB_ORGS": "", "ALLOWED_GITHUB_TEAMS": ""}, False),
        ("marek", {"ALLOWED_GITHUB_ORGS": "", "ALLOWED_GITHUB_TEAMS": "acme/platform"}, True),
    ],
)
async def test_a_person_who_is_no_longer_eligible_loses_the_grant_at_the_next_refresh(
    web: WebServer, client: OAuthClient, login: str, settings: dict[str, str], stays: bool
) -> None:
    client_id, tokens = await signed_in(client, login)
    with another_web(web, settings) as address:
        status, answer = await refresh_at(address, client_id, tokens["refresh_token"])
    assert status == (200 if stays else 400), answer
    if not stays:
        assert answer["error"] == "invalid_grant"
        assert not alive(web, tokens["access_token"])
        assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 400


@pytest.mark.parametrize("found_by", ["a refresh", "a session", "a sign-in"])
async def test_all_access_of_a_former_member_ends_at_the_first_sign_of_it(
    web: WebServer, client: OAuthClient, found_by: str
) -> None:
    async with OAuthClient(web.issuer) as browser:
        _, of_somebody_else = await signed_in(browser, "octavia")
    _, of_one_client = await signed_in(client, "marek")
    client_id, of_another_client = await signed_in(client, "marek")
    third = client.authorize_url((await client.register()).client_id, CHALLENGE)
    web.now_at_github({"marek": {}})
    try:
        match found_by:
            case "a refresh":
                assert not (await client.refresh(client_id, of_another_client["refresh_token"])).is_success
            case "a session":
                assert "access_denied" in (await client.consent(third)).headers["Location"]
            case "a sign-in":
                assert (await client.authorize(third, "marek"))["error"] == "access_denied"
        for tokens in (of_one_client, of_another_client):
            assert not alive(web, tokens["access_token"])
        assert alive(web, of_somebody_else["access_token"])
    finally:
        web.now_at_github({})
        with web.redis.client() as redis:
            redis.delete(*redis.keys("cut:*"))


@pytest.mark.parametrize("found_by", ["a refresh", "a session", "a sign-in"])
async def test_a_change_of_teams_ends_all_tokens_with_the_former_teams(
    web: WebServer, client: OAuthClient, found_by: str
) -> None:
    with another_web(web, {"ALLOWED_GITHUB_TEAMS": "acme/on-call, acme/platform"}) as address:
        client_id, of_one_client = await signed_in(client, "marek")
        _, tokens = await refresh_at(address, client_id, of_one_client["refresh_token"])
        other_id, of_another_client = await signed_in(client, "marek")
        web.now_at_github({"marek": {"acme": ["on-call"]}})
        try:
            match found_by:
                case "a refresh":
                    await refresh_at(address, other_id, of_another_client["refresh_token"])
                case "a session":
                    third = client.authorize_url((await client.register()).client_id, CHALLENGE)
                    assert "code=" in (await client.consent(third)).headers["Location"]
                case "a sign-in":
                    await signed_in(client, "marek")
            assert not alive(web, tokens["access_token"])
            assert (await refresh_at(address, client_id, tokens["refresh_token"]))[0] == 200
        finally:
            web.now_at_github({})


async def test_an_outage_of_github_ends_no_grant(web: WebServer, client: OAuthClient) -> None:
    client_id, tokens = await signed_in(client, "marek")
    with another_web(web, {"GITHUB_API_URL": f"http://127.0.0.1:{free_port()}"}) as address:
        status, answer = await refresh_at(address, client_id, tokens["refresh_token"])
    assert (status, answer["error"]) == (503, "temporarily_unavailable")
    assert (await client.refresh(client_id, tokens["refresh_token"])).status_code == 200


async def test_a_github_token_is_stored_only_when_needed_and_only_encrypted(
    web: WebServer, client: OAuthClient
) -> None:
    grants = []
    for login in ("octocat", "marek"):
        _, tokens = await signed_in(client, login)
        with web.redis.client() as redis:
            grants.append(redis.hget(f"grant:{{{tokens['refresh_token'].split('.')[0]}}}", "record"))
    assert "sealed_github_token" not in str(grants[0])
    assert "sealed_github_token" in str(grants[1])
    assert "gho_" not in str(grants[1])


async def test_concurrent_refreshes_of_a_member_still_share_one_successor(client: OAuthClient) -> None:
    client_id, tokens = await signed_in(client, "marek")
    answers = await asyncio.gather(*(client.refresh(client_id, tokens["refresh_token"]) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


def groups_in(access_token: str) -> list[str] | None:
    groups: list[str] | None = jwt.decode(access_token, options={"verify_signature": False}).get("groups")
    return groups


@pytest.mark.requirement("rfc9068:groups")
async def test_a_token_has_only_the_groups_that_made_its_user_eligible(client: OAuthClient) -> None:
    # Octavia is in birdwatchers too, but no rule here depends on that; octocat needs no group.
    for login, groups in (("octavia", ["acme"]), ("marek", ["acme"]), ("octocat", None)):
        _, tokens = await signed_in(client, login)
        assert groups_in(tokens["access_token"]) == groups


async def test_a_refresh_gets_the_current_groups_and_ends_tokens_with_former_ones(
    web: WebServer, client: OAuthClient
) -> None:
    client_id, tokens = await signed_in(client, "marek")
    old = jwt.decode(tokens["access_token"], options={"verify_signature": False})["jti"]
    with another_web(web, {"ALLOWED_GITHUB_TEAMS": "Acme/Platform"}) as address:
        _, fresh = await refresh_at(address, client_id, tokens["refresh_token"])
        _, again = await refresh_at(address, client_id, fresh["refresh_token"])
    for answer in (fresh, again):
        assert groups_in(answer["access_token"]) == ["acme", "acme/platform"]
    with web.redis.client() as redis:
        assert not redis.exists(f"token:{old}")
        # The second time has no change, so the token of the first refresh stays active.
        assert redis.exists(
            f"token:{jwt.decode(fresh['access_token'], options={'verify_signature': False})['jti']}"
        )


async def test_introspection_returns_the_groups(client: OAuthClient) -> None:
    registration, pkce = await client.register(token_endpoint_auth_method="client_secret_post"), Pkce.fresh()
    proof = {"client_id": registration.client_id, "client_secret": registration.secret}
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), "marek")
    tokens = (
        await client.redeem(
            registration.client_id, came_back["code"], pkce.verifier, client_secret=registration.secret
        )
    ).json()
    for token in (tokens["access_token"], tokens["refresh_token"]):
        answer = await client.http.post(f"{client.issuer}/introspect", data={**proof, "token": token})
        assert answer.json()["groups"] == ["acme"]


@contextmanager
def github_that_answers(status: int, headers: dict[str, str]) -> Iterator[str]:
    """A REST API that gives the same answer to every request; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            body = b'{"message": "No", "documentation_url": "https://docs.github.com/rest"}'
            for name, value in {**headers, "X-OAuth-Scopes": "read:org", "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}"


@pytest.mark.parametrize(
    ("status", "headers", "stays"),
    [
        (429, {}, True),
        (403, {"Retry-After": "60"}, True),
        (403, {"X-RateLimit-Remaining": "0"}, True),
        (500, {}, True),
        (403, {"X-RateLimit-Remaining": "7"}, False),
        (401, {"X-RateLimit-Remaining": "0"}, False),
    ],
)
async def test_a_rate_limit_or_error_of_github_is_an_outage_and_a_refusal_is_not(
    web: WebServer, client: OAuthClient, status: int, headers: dict[str, str], stays: bool
) -> None:
    client_id, tokens = await signed_in(client, "marek")
    with github_that_answers(status, headers) as api, another_web(web, {"GITHUB_API_URL": api}) as address:
        answered, _ = await refresh_at(address, client_id, tokens["refresh_token"])
    assert answered == (503 if stays else 400)
    assert (await client.refresh(client_id, tokens["refresh_token"])).is_success is stays
    with web.redis.client() as redis:  # otherwise the next case would find the other sign-ins of this one
        for key in redis.scan_iter("user-grants:*"):
            redis.delete(key)


async def test_a_revoked_github_token_is_ignored_while_a_later_sign_in_has_another(
    web: WebServer, client: OAuthClient
) -> None:
    client_id, tokens = await signed_in(client, "marek")
    key = f"grant:{{{tokens['refresh_token'].split('.')[0]}}}"
    with web.redis.client() as redis:
        context = f"portcullis github token {read_record(redis, key)['user']['github_id']}"
        dropped = seal(b"gho_dropped", read_key(web.environment["MASTER_KEY"]), context=context)
        sealed = base64.b64encode(dropped).decode()
        change_record(redis, key, lambda record: {**record, "sealed_github_token": sealed})
        await signed_in(client, "marek")
        fresh = await client.refresh(client_id, tokens["refresh_token"])
        assert fresh.is_success
        for other in redis.scan_iter("user-grants:*"):
            redis.delete(other)
    refused = await client.refresh(client_id, fresh.json()["refresh_token"])
    assert refused.json()["error"] == "invalid_grant"
