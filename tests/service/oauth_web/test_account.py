"""The account page: a signed-in person ends access there, and no other user can end it."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING

import httpx2
import pytest
from redis.asyncio import Redis

from oauth_core.store import keyspace
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.revocation import Revocation
from tests.service.oauth_web.issued_tokens import alive
from tests.support.master_key import RECORD_KEY
from tests.support.oauth_client import OAuthClient, Pkce, answered, form_value
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.web_process import WebServer


async def account(client: OAuthClient) -> str:
    page = await client.http.get(f"{client.issuer}/account")
    assert (page.status_code, page.headers["Cache-Control"]) == (200, "no-store")
    return page.text


async def send(
    browser: OAuthClient, action: str, form: Mapping[str, str] | None = None, *, origin: str | None = None
) -> httpx2.Response:
    headers = {"Origin": origin} if origin else {}
    return await browser.http.post(f"{browser.issuer}/account/{action}", data=form, headers=headers)


async def connected(client: OAuthClient, login: str = "octocat") -> tuple[str, dict[str, str]]:
    """A fresh app that acts for `login`, signed in here too: its name and its tokens."""
    name = f"App {secrets.token_hex(4)}"
    registration = await client.register(client_name=name)
    pkce = Pkce.fresh()
    came_back = await client.authorize(client.authorize_url(registration.client_id, pkce.challenge), login)
    answer = await client.redeem(registration.client_id, came_back["code"], pkce.verifier)
    tokens: dict[str, str] = answer.json()
    return name, {**tokens, "client_id": registration.client_id}


def grant_of(tokens: dict[str, str]) -> str:
    return tokens["refresh_token"].split(".")[0]


async def test_signing_in_leads_back_to_the_page(client: OAuthClient) -> None:
    assert "Sign in with GitHub" in await account(client)
    to_github = await send(client, "sign-in")
    back = await client.http.get(await client.from_github(to_github, "monalisa"))
    assert (back.status_code, back.headers["Location"]) == (303, "/account")
    assert "<strong>monalisa</strong>" in await account(client)


async def test_a_person_who_is_not_eligible_gets_a_page_and_no_session(client: OAuthClient) -> None:
    back = await client.http.get(await client.from_github(await send(client, "sign-in"), "stranger"))
    assert back.status_code == 403
    assert "stranger may not use this gateway" in back.text
    assert "Sign in with GitHub" in await account(client)


async def test_it_shows_each_app_with_its_services_and_disconnecting_ends_it_at_once(
    web: WebServer, client: OAuthClient
) -> None:
    kept, kept_tokens = await connected(client)
    name, tokens = await connected(client)
    page = await account(client)
    assert name in page
    assert "Time and time zones, Notes" in page
    assert alive(web, tokens["access_token"])
    done = await send(
        client, "disconnect", {"form_token": form_value(page, "form_token"), "grant": grant_of(tokens)}
    )
    assert (done.status_code, done.headers["Location"]) == (303, "/account?done=disconnected")
    assert not alive(web, tokens["access_token"])
    assert (await client.refresh(tokens["client_id"], tokens["refresh_token"])).status_code == 400
    apps = (await account(client)).partition('<h2 id="notices">')[0]
    assert name not in apps
    assert kept in apps
    assert alive(web, kept_tokens["access_token"])
    assert "disconnected by the user" in web.log.read_text()


async def test_a_person_cannot_disconnect_an_app_of_another_person(web: WebServer, client: OAuthClient) -> None:
    _, theirs = await connected(client, "monalisa")
    await connected(client, "octocat")
    token = form_value(await account(client), "form_token")
    answer = await send(client, "disconnect", {"form_token": token, "grant": grant_of(theirs)})
    unknown = await send(client, "disconnect", {"form_token": token, "grant": "nothing"})
    assert (answer.status_code, answer.headers["Location"]) == (unknown.status_code, unknown.headers["Location"])
    assert alive(web, theirs["access_token"])


@pytest.mark.parametrize("action", ["sign-out", "sign-out-everywhere", "disconnect", "forget"])
async def test_every_form_is_refused_without_the_token_of_its_session(
    web: WebServer, client: OAuthClient, action: str
) -> None:
    _, tokens = await connected(client)
    token = form_value(await account(client), "form_token")
    form = {"grant": grant_of(tokens), "client": tokens["client_id"]}
    for answer in (
        await send(client, action, form),
        await send(client, action, {**form, "form_token": "x" * 43}),
        await send(client, action, {**form, "form_token": "é"}),
        await send(client, action, {**form, "form_token": token}, origin="https://evil.example"),
    ):
        assert answer.status_code == 403
    async with OAuthClient(client.issuer) as stranger:
        await connected(stranger, "monalisa")
        assert (await send(stranger, action, {**form, "form_token": token})).status_code == 403
    assert alive(web, tokens["access_token"])
    assert "<strong>octocat</strong>" in await account(client)


async def test_signing_out_ends_this_session_and_no_app(web: WebServer, client: OAuthClient) -> None:
    _, tokens = await connected(client)
    token = form_value(await account(client), "form_token")
    cookies = list(client.http.cookies.jar)
    await send(client, "sign-out", {"form_token": token})
    for cookie in cookies:
        client.http.cookies.jar.set_cookie(cookie)
    assert "Sign in with GitHub" in await account(client)
    assert (await send(client, "sign-out", {"form_token": token})).status_code == 403
    assert alive(web, tokens["access_token"])


async def test_signing_out_everywhere_ends_sessions_apps_and_sign_ins_in_progress(web: WebServer) -> None:
    async with OAuthClient(web.issuer) as here, OAuthClient(web.issuer) as there:
        _, tokens = await connected(here, "monalisa")
        registration = await there.register()
        pkce = Pkce.fresh()
        came_back = await there.authorize(there.authorize_url(registration.client_id, pkce.challenge), "monalisa")
        token = form_value(await account(here), "form_token")
        done = await send(here, "sign-out-everywhere", {"form_token": token})
        assert done.headers["Location"] == "/account?done=signed-out-everywhere"
        assert not alive(web, tokens["access_token"])
        for browser in (here, there):
            assert "Sign in with GitHub" in await account(browser)
        late = await there.redeem(registration.client_id, came_back["code"], pkce.verifier)
        assert late.status_code == 400, "a code from before must not give the app access again"


async def test_a_remembered_consent_can_be_forgotten_and_disconnecting_forgets_it_too(client: OAuthClient) -> None:
    uri = "https://app.example/cb"
    name = f"Web {secrets.token_hex(4)}"
    registration = await client.register(client_name=name, redirect_uris=[uri])
    pkce = Pkce.fresh()
    url = client.authorize_url(registration.client_id, pkce.challenge, redirect_uri=uri)
    await client.authorize(url)
    for way in ("forget", "disconnect"):
        form = {**await client.consent_form(url), "decision": "allow", "remember": "yes"}
        await client.http.post(f"{client.issuer}/authorize/consent", data=form)
        silent = await client.http.get(url)
        assert silent.status_code == 302
        page = await account(client)
        assert "Apps you are not asked about" in page
        token = form_value(page, "form_token")
        if way == "forget":
            await send(client, "forget", {"form_token": token, "client": registration.client_id})
        else:
            code = re.search(r"code=([^&]+)", silent.headers["Location"])
            assert code is not None
            redeemed = await client.redeem(registration.client_id, code[1], pkce.verifier, redirect_uri=uri)
            await send(client, "disconnect", {"form_token": token, "grant": grant_of(redeemed.json())})
        assert (await client.http.get(url)).status_code == 200


async def test_names_of_apps_are_escaped(client: OAuthClient) -> None:
    await connected(client)
    registration = await client.register(client_name="<script>alert(1)</script>")
    await client.tokens(registration.client_id)
    page = await account(client)
    assert "&lt;script&gt;" in page
    assert "<script" not in page


async def test_an_operators_revocation_of_a_person_ends_their_sessions(
    web: WebServer, client: OAuthClient
) -> None:
    """`portcullis users revoke` and `block` go this way."""
    await connected(client)
    with web.redis.client() as blocking:
        users = [int(str(key).partition(":")[2]) for key in blocking.keys("user-sessions:*")]
    async with Redis(
        unix_socket_path=str(web.redis.socket), password=web.redis.password, decode_responses=True
    ) as redis:
        for user in users:
            await Revocation(redis, GrantStore(redis, RECORD_KEY)).revoke_user(user)
            await redis.delete(keyspace.cutoff_of_user(user))  # others may sign in within the same second
    assert "Sign in with GitHub" in await account(client)


async def test_all_apps_can_be_disconnected_and_all_consents_forgotten_at_once(
    web: WebServer, client: OAuthClient
) -> None:
    _, one = await connected(client)
    _, two = await connected(client)
    token = form_value(await account(client), "form_token")
    assert (await send(client, "disconnect-all", {"form_token": "x" * 43})).status_code == 403
    assert alive(web, one["access_token"])
    done = await send(client, "disconnect-all", {"form_token": token})
    assert done.headers["Location"] == "/account?done=all-disconnected"
    assert not alive(web, one["access_token"])
    assert not alive(web, two["access_token"])
    page = await account(client)
    assert "No app acts for you" in page
    assert "<strong>octocat</strong>" in page, "the session stays"
    forgotten = await send(client, "forget-all", {"form_token": token})
    assert forgotten.headers["Location"] == "/account?done=all-forgotten"


@pytest.mark.parametrize("action", ["disconnect", "disconnect-all"])
async def test_a_code_that_was_allowed_just_before_disconnecting_is_void(client: OAuthClient, action: str) -> None:
    _, tokens = await connected(client)
    pkce = Pkce.fresh()
    asked = await client.consent(client.authorize_url(tokens["client_id"], pkce.challenge))
    code = answered(asked.headers["Location"])["code"]
    token = form_value(await account(client), "form_token")
    done = await send(client, action, {"form_token": token, "grant": grant_of(tokens)})
    assert done.status_code == 303
    refused = await client.redeem(tokens["client_id"], code, pkce.verifier)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    page = await account(client)
    assert grant_of(tokens) not in page
    assert "<strong>octocat</strong>" in page, "the session stays"


_ROLES = """
[roles.everybody]
permissions = ["mcp.*"]
everyone = true

[roles.integrator]
permissions = ["client.register"]
users = ["octocat"]
"""


async def signed_in_at_the_page(browser: OAuthClient, login: str) -> str:
    """The token of the forms on the account page of `login`."""
    to_github = await send(browser, "sign-in")
    assert (await browser.http.get(await browser.from_github(to_github, login))).status_code == 303
    return form_value(await account(browser), "form_token")


async def registers(server: WebServer, token: str) -> int:
    asked = {"redirect_uris": ["http://127.0.0.1:1/cb"], "token_endpoint_auth_method": "none"}
    async with httpx2.AsyncClient() as http:
        headers = {"Authorization": f"Bearer {token}"}
        return (await http.post(f"{server.issuer}/register", json=asked, headers=headers)).status_code


async def test_a_registration_token_needs_the_permission_works_once_and_ends_with_its_holder() -> None:
    with running_web({"CLIENT_REGISTRATION": "token"}, more=_ROLES) as server:
        async with OAuthClient(server.issuer) as holder, OAuthClient(server.issuer) as other:
            theirs = {"form_token": await signed_in_at_the_page(other, "monalisa")}
            assert "Make a registration token" not in await account(other)
            refused = await send(other, "registration-token", theirs)
            assert refused.status_code == 403
            assert "may not register clients" in refused.text
            mine = {"form_token": await signed_in_at_the_page(holder, "octocat")}
            assert "Make a registration token" in await account(holder)
            assert (await send(holder, "registration-token", theirs)).status_code == 403
            tokens = []
            for _ in range(2):
                given = await send(holder, "registration-token", mine)
                assert (given.status_code, given.headers["Cache-Control"]) == (200, "no-store")
                found = re.search(r"<code>([\w-]{22}\.[\w-]{43})</code>", given.text)
                assert found is not None
                tokens.append(found[1])
                assert found[1] not in await account(holder)
            assert [await registers(server, tokens[0]) for _ in range(2)] == [201, 401]
            with server.redis.client() as redis:
                redis.set(keyspace.PAUSED, "A restore is running.")
                for browser, form in ((holder, "registration-token"), (other, "sign-in")):
                    paused = await send(browser, form, mine)
                    assert paused.status_code == 503, "a form that writes a record is refused during the pause"
                    assert "A restore is running." in paused.text
                redis.delete(keyspace.PAUSED)
                for key in redis.keys("user:*"):
                    github_id = int(str(key).partition(":")[2])
                    redis.set(f"block:{github_id}", json.dumps({"github_id": github_id, "since": 1}))
            assert await registers(server, tokens[1]) == 401
            assert tokens[0].partition(".")[2] not in server.log.read_text()
