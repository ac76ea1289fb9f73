"""The redirect to GitHub and back: who may sign in, and that a leaked or foreign callback is refused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from oauth_core.crypto.credentials import hash_secret
from tests.support.certificates import Authority
from tests.support.oauth_client import SESSION, OAuthClient, Pkce, answered
from tests.support.ports import free_port
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.web_process import WebServer

CHALLENGE = Pkce.fresh().challenge


@pytest.mark.requirement("best-practices:state")
async def test_the_redirect_to_github_has_its_own_state_and_pkce(client: OAuthClient) -> None:
    registration = await client.register()
    answer = await client.consent(client.authorize_url(registration.client_id, CHALLENGE))
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked["redirect_uri"] == [f"{client.issuer}/callback"]
    assert asked["code_challenge_method"] == ["S256"]
    assert asked["code_challenge"] != [CHALLENGE]
    assert asked["state"] != ["state-of-the-client"]


@pytest.mark.requirement("mcp:iss", "rfc9207:iss", "rfc9207:identical")
async def test_the_client_gets_code_state_and_issuer(client: OAuthClient) -> None:
    registration = await client.register()
    came_back = await client.authorize(client.authorize_url(registration.client_id, CHALLENGE))
    assert set(came_back) == {"code", "state", "iss"}
    metadata = (await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")).json()
    assert (came_back["state"], came_back["iss"]) == ("state-of-the-client", metadata["issuer"])


async def test_a_callback_is_processed_once_and_a_reload_gets_the_same_answer(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    pkce = Pkce.fresh()
    callback = await client.at_callback(client.authorize_url(registration.client_id, pkce.challenge))
    answers = await asyncio.gather(*(client.http.get(callback) for _ in range(5)))
    answers.append(await client.http.get(callback))
    assert {answer.status_code for answer in answers} == {302}
    (location,) = {answer.headers["Location"] for answer in answers}
    # The browser takes the session from any answer that it did not drop.
    assert len({answer.headers["Set-Cookie"] for answer in answers}) == 1
    assert SESSION in answers[0].headers["Set-Cookie"]
    redeemed = await client.redeem(registration.client_id, answered(location)["code"], pkce.verifier)
    assert redeemed.status_code == 200
    async with httpx2.AsyncClient() as stranger:
        assert (await stranger.get(callback)).status_code == 400
    with web.redis.client() as redis:
        redis.delete(f"answer:{hash_secret(answered(callback)['state'])}")
    assert (await client.http.get(callback)).status_code == 400


async def test_a_browser_that_drops_the_first_answer_gets_it_with_the_second_request(
    client: OAuthClient,
) -> None:
    registration = await client.register()
    callback = await client.at_callback(client.authorize_url(registration.client_id, CHALLENGE))
    for _ in range(3):
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.http.get(callback), 0.02)
    assert "code" in answered((await client.http.get(callback)).headers["Location"])


async def test_a_callback_in_another_browser_is_refused_and_consumed(client: OAuthClient) -> None:
    """Otherwise an attacker could have a victim's browser finish the attacker's sign-in."""
    registration = await client.register()
    callback = await client.at_callback(client.authorize_url(registration.client_id, CHALLENGE))
    async with httpx2.AsyncClient() as stranger:
        assert (await stranger.get(callback)).status_code == 400
    assert (await client.http.get(callback)).status_code == 400


@pytest.mark.parametrize(
    "query", ["", "?state=unknown&code=x", "?code=x", "?state=a&state=b&code=x", "?state=%00", "?state=%ff"]
)
@pytest.mark.requirement("best-practices:state")
async def test_a_callback_without_a_valid_state_is_a_page_with_400(client: OAuthClient, query: str) -> None:
    answer = await client.http.get(f"{client.issuer}/callback{query}")
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_cancelling_at_github_is_returned_as_access_denied(client: OAuthClient) -> None:
    registration = await client.register()
    callback = await client.at_callback(client.authorize_url(registration.client_id, CHALLENGE))
    state = parse_qs(urlsplit(callback).query)["state"][0]
    answer = await client.http.get(f"{client.issuer}/callback?error=access_denied&state={state}")
    assert answered(answer.headers["Location"])["error"] == "access_denied"


async def test_an_invalid_code_of_github_is_returned_as_access_denied(client: OAuthClient) -> None:
    registration = await client.register()
    callback = await client.at_callback(client.authorize_url(registration.client_id, CHALLENGE))
    state = parse_qs(urlsplit(callback).query)["state"][0]
    answer = await client.http.get(f"{client.issuer}/callback?code=made-up&state={state}")
    assert answered(answer.headers["Location"])["error"] == "access_denied"


@pytest.mark.parametrize("login", ["octocat", "OctoCat", "monalisa"])
async def test_listed_users_are_allowed_in_any_case(client: OAuthClient, login: str) -> None:
    registration = await client.register()
    assert "code" in await client.authorize(client.authorize_url(registration.client_id, CHALLENGE), login)


@pytest.mark.parametrize("login", ["stranger", "octocat2", "xoctocat"])
async def test_users_not_on_the_list_are_refused(web: WebServer, client: OAuthClient, login: str) -> None:
    registration = await client.register()
    came_back = await client.authorize(client.authorize_url(registration.client_id, CHALLENGE), login)
    assert came_back["error"] == "access_denied"
    assert "code" not in came_back
    assert f'"user": "{login}"' in web.log.read_text()


async def test_a_list_allows_its_members_and_a_star_all_people() -> None:
    """At the stand-in an empty list allows all people. At GitHub it allows none (`unit/test_settings`)."""
    for allowed, comes_in in (("somebody-else", False), ("*", True), ("", True)):
        with running_web({"ALLOWED_GITHUB_USERS": allowed}) as server:
            async with OAuthClient(server.issuer) as client:
                registration = await client.register()
                url = client.authorize_url(registration.client_id, CHALLENGE)
                assert ("code" in await client.authorize(url, "anybody")) is comes_in


async def test_an_outage_of_github_is_returned_as_temporarily_unavailable() -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    with running_web({"GITHUB_BACKCHANNEL_URL": nowhere}) as server:
        async with OAuthClient(server.issuer) as client:
            registration = await client.register()
            came_back = await client.authorize(client.authorize_url(registration.client_id, CHALLENGE))
            assert came_back["error"] == "temporarily_unavailable"
            assert came_back["state"] == "state-of-the-client"


async def test_a_sign_in_does_not_read_the_certificate_bundle_again(tmp_path: Path) -> None:
    """Reading it takes tens of milliseconds, and meanwhile the process serves nothing else."""
    bundle = Authority(tmp_path, "authorities").cert
    with running_web({"SSL_CERT_FILE": str(bundle), "ALLOWED_GITHUB_ORGS": "acme"}) as web:
        bundle.unlink()
        web.now_at_github({"octocat": {"acme": []}})
        async with OAuthClient(web.issuer) as client:
            for _ in range(2):
                registration = await client.register()
                tokens = await client.tokens(registration.client_id)
                refreshed = await client.refresh(registration.client_id, tokens["refresh_token"])
                assert refreshed.status_code == 200, refreshed.text
