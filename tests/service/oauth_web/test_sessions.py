"""The browser session: which steps it skips, which it never skips, how it ends, and attacks on it."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from typing import TYPE_CHECKING

import httpx2
import pytest

from oauth_core.crypto.credentials import hash_secret
from oauth_core.store import keyspace
from tests.support.device_flow import consented, polled, registered, started
from tests.support.master_key import change_record, read_record
from tests.support.oauth_client import SESSION, OAuthClient, Pkce, answered
from tests.support.web_process import another_web, running_web

if TYPE_CHECKING:
    from tests.support.web_process import WebServer

CHALLENGE = Pkce.fresh().challenge
HTTPS = "https://app.example/cb"


async def signed_in(client: OAuthClient, login: str = "octocat", **members: object) -> str:
    """Sign in for a fresh client. Return its id. The browser has a session afterwards."""
    registration = await client.register(**members)
    uri = registration.document["redirect_uris"][0]
    url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=uri)
    assert "code" in await client.authorize(url, login)
    return registration.client_id


def session_of(client: OAuthClient) -> str | None:
    return next((cookie.value for cookie in client.http.cookies.jar if cookie.name == SESSION), None)


def plant(client: OAuthClient, secret: str) -> None:
    client.forget_session()
    client.http.cookies.set(SESSION, secret, domain="localhost.local", path="/")


async def test_within_a_session_the_next_app_needs_no_redirect_to_github(client: OAuthClient) -> None:
    await signed_in(client)
    registration = await client.register(client_name="Another")
    url = client.authorize_url(registration.client_id, CHALLENGE)
    page = await client.http.get(url)
    assert "Allow as octocat" in page.text
    assert "Another" in page.text
    answer = await client.consent(url)
    came_back = answered(answer.headers["Location"])
    assert answer.headers["Location"].startswith("http://127.0.0.1:7777/callback?")
    assert set(came_back) == {"code", "state", "iss"}


async def test_within_a_session_a_device_needs_consent_each_time(client: OAuthClient) -> None:
    await signed_in(client)
    client_id = await registered(client)
    for _ in range(2):
        codes = await started(client, client_id)
        done = await consented(client, codes["user_code"])
        assert "Connected" in done.text
        assert (await polled(client, client_id, codes["device_code"])).status_code == 200


@pytest.mark.requirement("best-practices:consent-cookie")
async def test_the_cookie_has_the_attributes_that_protect_it(client: OAuthClient) -> None:
    registration = await client.register()
    callback = await client.at_callback(client.authorize_url(registration.client_id, CHALLENGE))
    answer = await client.http.get(callback)
    header = next(value for value in answer.headers.get_list("set-cookie") if value.startswith(SESSION))
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=43200"} <= set(header.split("; "))
    assert "Domain" not in header


@pytest.mark.requirement("best-practices:consent-cookie")
async def test_with_tls_the_cookie_has_the_host_prefix(web: WebServer) -> None:
    github = {"GITHUB_URL": "https://github.example", "GITHUB_API_URL": "https://api.github.example"}
    with another_web(web, {"ISSUER": "https://gw.example", **github}) as address:
        async with httpx2.AsyncClient() as http:
            answer = await http.post(f"{address}/account/sign-in", headers={"Origin": "https://gw.example"})
    assert answer.status_code == 303
    cookies = answer.headers.get_list("set-cookie")
    assert len(cookies) == 1
    assert cookies[0].startswith("__Host-portcullis=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookies[0].split("; "))


async def test_every_sign_in_makes_a_new_secret_and_ends_the_old_one(web: WebServer, client: OAuthClient) -> None:
    """Session fixation: a secret that was planted beforehand is invalid."""
    await signed_in(client)
    first = session_of(client)
    assert first is not None
    registration = await client.register()
    url = client.authorize_url(registration.client_id, CHALLENGE, prompt="login")
    to_github = await client.consent(url)
    assert "/login/oauth/authorize" in to_github.headers["Location"]
    assert "prompt=select_account" in to_github.headers["Location"]
    await client.http.get(await client.from_github(to_github, "monalisa"))
    second = session_of(client)
    assert second not in {None, first}
    async with OAuthClient(web.issuer) as thief:
        plant(thief, first)
        assert "Sign in with GitHub" in (await thief.http.get(f"{web.issuer}/account")).text


async def test_an_attackers_planted_secret_does_not_become_the_victims_session(client: OAuthClient) -> None:
    planted = "p" * 43
    registration = await client.register()
    callback = await client.at_callback(client.authorize_url(registration.client_id, CHALLENGE))
    plant(client, planted)
    answer = await client.http.get(callback)
    assert f"{SESSION}={planted}" not in str(answer.headers)
    async with OAuthClient(client.issuer) as attacker:
        plant(attacker, planted)
        assert "Sign in with GitHub" in (await attacker.http.get(f"{client.issuer}/account")).text


async def test_the_session_secret_is_stored_hashed(web: WebServer, client: OAuthClient) -> None:
    await signed_in(client)
    secret = session_of(client)
    assert secret
    with web.redis.client() as redis:
        keys = redis.keys("session:*")
        assert keys
        stored = " ".join([*map(str, keys), *(str(redis.get(key)) for key in keys)])
    assert secret not in stored
    assert secret not in web.log.read_text()


async def test_a_consent_page_for_one_user_does_not_act_for_the_next(client: OAuthClient) -> None:
    """A opens the page, B signs in in the same browser, and A's page is submitted."""
    await signed_in(client, "octocat")
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    await signed_in(client, "monalisa")
    answer = await client.http.post(f"{client.issuer}/authorize/consent", data={**form, "decision": "allow"})
    assert answer.status_code == 400
    assert "session that has ended" in answer.text


async def test_a_consent_form_is_refused_after_signing_out(client: OAuthClient) -> None:
    await signed_in(client)
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    account = await client.http.get(f"{client.issuer}/account")
    token = re.search(r'name="form_token" value="([^"]+)"', account.text)
    assert token is not None
    cookies = list(client.http.cookies.jar)
    out = await client.http.post(f"{client.issuer}/account/sign-out", data={"form_token": token[1]})
    assert (out.status_code, out.headers["Location"]) == (303, "/account?done=signed-out")
    assert not [cookie for cookie in client.http.cookies.jar if "portcullis" in cookie.name]
    for cookie in cookies:  # an attacker kept the cookies that the browser deleted
        client.http.cookies.jar.set_cookie(cookie)
    for decision in ("allow", "other", "deny"):
        answer = await client.http.post(f"{client.issuer}/authorize/consent", data={**form, "decision": decision})
        assert answer.status_code == 400


async def test_a_page_from_before_signing_in_still_redirects_to_github(client: OAuthClient) -> None:
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    other = await client.register()
    to_github = await client.consent(client.authorize_url(other.client_id, CHALLENGE))
    await client.http.get(await client.from_github(to_github))
    assert session_of(client)
    answer = await client.http.post(f"{client.issuer}/authorize/consent", data={**form, "decision": "allow"})
    assert "/login/oauth/authorize" in answer.headers["Location"]


async def test_another_account_can_be_chosen_on_the_page(client: OAuthClient) -> None:
    await signed_in(client, "octocat")
    registration = await client.register()
    answer = await client.consent(client.authorize_url(registration.client_id, CHALLENGE), "other")
    assert "prompt=select_account" in answer.headers["Location"]


@pytest.mark.parametrize("lifetime", ["SESSION_LIFETIME", "SESSION_IDLE_LIFETIME"])
async def test_a_session_expires(web: WebServer, client: OAuthClient, lifetime: str) -> None:
    await signed_in(client)
    key = keyspace.session(hash_secret(str(session_of(client))))
    with web.redis.client() as redis:
        if lifetime == "SESSION_IDLE_LIFETIME":
            assert 0 < redis.ttl(key) <= 3600
            redis.delete(key)
        else:
            change_record(redis, key, lambda record: {**record, "expires_at": 1})
    registration = await client.register()
    answer = await client.consent(client.authorize_url(registration.client_id, CHALLENGE))
    assert "/login/oauth/authorize" in answer.headers["Location"]


async def test_a_use_extends_the_idle_lifetime_of_a_session(web: WebServer, client: OAuthClient) -> None:
    await signed_in(client)
    with web.redis.client() as redis:
        for one in redis.keys("session:*"):
            redis.expire(one, 30)
        await client.http.get(f"{client.issuer}/account")
        assert [one for one in redis.keys("session:*") if redis.ttl(one) > 3000]


async def test_an_operator_can_turn_sessions_off() -> None:
    with running_web({"SESSION_LIFETIME": "0"}) as server:
        async with OAuthClient(server.issuer) as client:
            await signed_in(client)
            assert session_of(client) is None
            page = await client.http.get(f"{server.issuer}/account")
            assert "keeps no sessions" in page.text


# -- the prompt parameter -----------------------------------------------------------------------------------------


async def test_prompt_none_is_answered_without_a_page(client: OAuthClient) -> None:
    registration = await client.register()
    url = client.authorize_url(registration.client_id, CHALLENGE, prompt="none")
    answer = await client.http.get(url)
    assert answered(answer.headers["Location"]) == {
        "error": "login_required", "error_description": "the user is not signed in",
        "state": "state-of-the-client", "iss": client.issuer,
    }  # fmt: skip
    await signed_in(client)
    asked = await client.http.get(url)
    assert answered(asked.headers["Location"])["error"] == "consent_required"


async def test_prompt_none_cannot_be_combined(client: OAuthClient) -> None:
    registration = await client.register()
    answer = await client.http.get(client.authorize_url(registration.client_id, CHALLENGE, prompt="none login"))
    assert answered(answer.headers["Location"])["error"] == "invalid_request"


# -- remembered consent -------------------------------------------------------------------------------------------


async def remembered(client: OAuthClient, **parameters: str) -> str:
    """The id of an https client to which this browser's user has a remembered consent."""
    # A name of its own: identical registrations share a record.
    name = f"Web app {secrets.token_hex(4)}"
    client_id = await signed_in(client, redirect_uris=[HTTPS], client_name=name)
    url = client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS, **parameters)
    form = await client.consent_form(url)
    answer = await client.http.post(
        f"{client.issuer}/authorize/consent", data={**form, "decision": "allow", "remember": "yes"}
    )
    assert "code=" in answer.headers["Location"]
    return client_id


def is_silent(answer: httpx2.Response) -> bool:
    return answer.status_code == 302 and "code=" in answer.headers["Location"]


@pytest.mark.requirement("mcp:redirect-automatic")
async def test_consent_is_not_remembered_unless_the_box_is_ticked(client: OAuthClient) -> None:
    client_id = await signed_in(client, redirect_uris=[HTTPS], client_name="Not remembered")
    url = client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS)
    assert (await client.http.get(url)).status_code == 200
    page = await client.http.get(url)
    assert '<input type="checkbox" name="remember" value="yes">' in page.text


async def test_with_a_remembered_consent_the_app_is_answered_at_once(web: WebServer, client: OAuthClient) -> None:
    client_id = await remembered(client, scope="mcp.time")
    url = client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS, scope="mcp.time")
    assert is_silent(await client.http.get(url))
    assert is_silent(await client.http.get(f"{url}&prompt=none"))
    assert '"event": "consent.reused"' in web.log.read_text()


@pytest.mark.parametrize(
    "parameters",
    [{"scope": "mcp.time mcp.notes"}, {"scope": "mcp.notes"}, {"prompt": "consent"}, {"prompt": "login"}],
)
async def test_a_request_for_more_than_the_remembered_consent_shows_the_page(
    client: OAuthClient, parameters: dict[str, str]
) -> None:
    client_id = await remembered(client, scope="mcp.time")
    asked = {"scope": "mcp.time", **parameters}
    url = client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS, **asked)
    assert (await client.http.get(url)).status_code == 200


@pytest.mark.requirement("best-practices:consent-per-client")
async def test_a_remembered_consent_is_valid_for_its_user_only(client: OAuthClient) -> None:
    client_id = await remembered(client)
    await signed_in(client, "monalisa")
    page = await client.http.get(client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS))
    assert page.status_code == 200
    assert "Allow as monalisa" in page.text


@pytest.mark.requirement("best-practices:consent-per-client")
async def test_another_client_with_the_same_name_needs_its_own_consent(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await remembered(client)
    with web.redis.client() as redis:
        name = read_record(redis, f"client:{client_id}")["client_name"]
    twin = await client.register(client_name=name, redirect_uris=[HTTPS, "https://evil.example/cb"])
    page = await client.http.get(client.authorize_url(twin.client_id, CHALLENGE, redirect_uri=HTTPS))
    assert page.status_code == 200


@pytest.mark.requirement("mcp:redirect-automatic")
async def test_consent_to_a_loopback_app_is_never_remembered(client: OAuthClient) -> None:
    client_id = await signed_in(client)
    url = client.authorize_url(client_id, CHALLENGE)
    page = await client.http.get(url)
    assert "remember" not in page.text
    form = await client.consent_form(url)
    await client.http.post(
        f"{client.issuer}/authorize/consent", data={**form, "decision": "allow", "remember": "yes"}
    )
    assert (await client.http.get(url)).status_code == 200


@pytest.mark.requirement("best-practices:redirect-uri")
async def test_a_changed_registration_ends_a_remembered_consent(client: OAuthClient) -> None:
    registration = await client.register(
        redirect_uris=[HTTPS], client_name="Honest", token_endpoint_auth_method="client_secret_basic"
    )
    url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=HTTPS)
    await client.authorize(url)
    form = {**await client.consent_form(url), "decision": "allow", "remember": "yes"}
    await client.http.post(f"{client.issuer}/authorize/consent", data=form)
    assert is_silent(await client.http.get(url))
    changed = await client.http.put(
        f"{client.issuer}/register/{registration.client_id}",
        json={
            "client_id": registration.client_id, "client_name": "Your bank", "redirect_uris": [HTTPS],
            "token_endpoint_auth_method": "client_secret_basic",
        },
        headers=registration.management,
    )  # fmt: skip
    assert changed.status_code == 200, changed.text
    assert (await client.http.get(url)).status_code == 200


async def test_a_frame_or_a_script_is_not_answered_without_the_page(client: OAuthClient) -> None:
    client_id = await remembered(client)
    url = client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS)
    for headers in ({"Sec-Fetch-Dest": "iframe"}, {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors"}):
        assert not is_silent(await client.http.get(url, headers=headers))
    assert is_silent(await client.http.get(url, headers={"Sec-Fetch-Dest": "document"}))


async def test_a_blocked_person_gets_no_code_and_is_signed_out() -> None:
    with running_web() as server:
        async with OAuthClient(server.issuer) as client:
            client_id = await remembered(client)
            url = client.authorize_url(client_id, CHALLENGE, redirect_uri=HTTPS)
            with server.redis.client() as redis:
                github_id = str(redis.keys("user-sessions:*")[0]).partition(":")[2]
                redis.set(f"block:{github_id}", json.dumps({"github_id": int(github_id), "since": 1}))
            answer = await client.http.get(url)
            assert answered(answer.headers["Location"])["error"] == "access_denied"
            assert "Sign in with GitHub" in (await client.http.get(f"{server.issuer}/account")).text


async def test_ten_submissions_of_one_form_give_one_code(client: OAuthClient) -> None:
    await signed_in(client)
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    answers = await asyncio.gather(
        *(
            client.http.post(f"{client.issuer}/authorize/consent", data={**form, "decision": "allow"})
            for _ in range(10)
        )
    )
    assert len({answered(answer.headers["Location"])["code"] for answer in answers}) == 1
