"""The consent page and the checks before it: no response goes to an address that was not validated."""

from __future__ import annotations

import asyncio
import html
import re
from typing import TYPE_CHECKING

import httpx2
import pytest

from oauth_core.crypto.credentials import hash_secret
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, answered

if TYPE_CHECKING:
    from tests.support.web_process import WebServer

CHALLENGE = Pkce.fresh().challenge
APP = "https://app.example/cb"


async def pressed(client: OAuthClient, form: dict[str, str], decision: str) -> httpx2.Response:
    return await client.http.post(f"{client.issuer}/authorize/consent", data={**form, "decision": decision})


@pytest.mark.requirement(
    "mcp:deputy-consent",
    "mcp:redirect-shown",
    "oauth21:consent-phishing",
    "rfc7591:shown",
)
@pytest.mark.requirement("best-practices:consent-page")
async def test_the_consent_page_shows_the_client_the_services_and_the_redirect_host(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register(
        client_name="<b>Time</b> & more", redirect_uris=["https://app.example/cb"]
    )
    url = client.authorize_url(
        registration.client_id, CHALLENGE, redirect_uri="https://app.example/cb", resource=web.resource
    )
    page = await client.http.get(url)
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "&lt;b&gt;Time&lt;/b&gt; &amp; more" in page.text
    assert "<b>Time" not in page.text
    assert "app.example" in page.text
    assert "Time and time zones" in page.text
    assert "Notes" not in page.text


@pytest.mark.requirement("complaints:fastmcp-2302", "oauth21:clickjacking")
@pytest.mark.requirement("best-practices:consent-frame")
async def test_the_page_cannot_be_framed_and_its_policy_allows_the_redirect(client: OAuthClient) -> None:
    registration = await client.register()
    page = await client.http.get(client.authorize_url(registration.client_id, CHALLENGE))
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "form-action" not in policy
    assert page.headers["X-Frame-Options"] == "DENY"
    assert page.headers["Cache-Control"] == "no-store"


@pytest.mark.requirement("mcp:localhost-warning")
async def test_an_app_on_this_device_is_shown_with_a_warning(client: OAuthClient) -> None:
    here = await client.register()
    there = await client.register(redirect_uris=["https://app.example/cb"])
    warned = await client.http.get(client.authorize_url(here.client_id, CHALLENGE))
    unwarned = await client.http.get(
        client.authorize_url(there.client_id, CHALLENGE, redirect_uri="https://app.example/cb")
    )
    assert "runs on your own device" in warned.text
    assert "runs on your own device" not in unwarned.text


@pytest.mark.requirement("oauth21:get")
async def test_fetching_the_page_twice_changes_nothing(client: OAuthClient) -> None:
    """A real client fetches the page first to see whether its registration is still known."""
    registration = await client.register()
    url = client.authorize_url(registration.client_id, CHALLENGE)
    async with httpx2.AsyncClient() as probe:
        assert (await probe.get(url)).status_code == 200
    assert "code" in await client.authorize(url)


@pytest.mark.parametrize("client_id", ["nobody", "A" * 22, "<b>"])
async def test_an_unknown_client_gets_a_page_that_explains_how_to_remove_and_add_the_server(
    web: WebServer, client: OAuthClient, client_id: str
) -> None:
    evil = "https://evil.example/mcp"
    url = client.authorize_url(client_id, CHALLENGE, resource=[web.resource, evil])
    answer = await client.http.get(url)
    assert (answer.status_code, answer.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
    for words in ("Remove the server", "Add the server again", f"<code>{web.resource}</code>", "invalid_client"):
        assert words in answer.text
    assert "evil.example" not in answer.text
    assert "connect again" not in answer.text


@pytest.mark.requirement(
    "mcp:redirect-exact", "mcp:redirect-trust", "oauth21:register-redirect", "oauth21:bad-redirect-page"
)
@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/cb",
        "http://127.0.0.1:7777/callback/",
        "http://127.0.0.1:7777/callback?x=1",
        "http://127.0.0.1:7777/CALLBACK",
        "http://localhost:7777/callback",
        "http://127.0.0.1:7777@evil.example/callback",
        "http://127.0.0.1:7777\\@evil.example/callback",
        "http://127.0.0.1.evil.example/callback",
        "https://127.0.0.1:7777/callback",
        "javascript:alert(1)",
        "//evil.example/callback",
        "",
        "http://127.0.0.1:7777/callback\r\nX: y",
    ],
)
async def test_no_answer_is_sent_to_a_redirect_uri_that_is_not_registered(client: OAuthClient, uri: str) -> None:
    # Two redirect URIs, so that a request without one has no default either.
    registration = await client.register(redirect_uris=[REDIRECT_URI, "https://app.example/cb"])
    answer = await client.http.get(client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=uri))
    assert answer.status_code == 400
    assert "Location" not in answer.headers


@pytest.mark.requirement("complaints:claude-code-42301", "oauth21:loopback-port")
@pytest.mark.parametrize(
    ("registered", "requested"),
    [
        ("http://127.0.0.1:1/cb", "http://127.0.0.1:60000/cb"),
        ("http://localhost/cb", "http://localhost:60000/cb"),
        ("http://[::1]:9/cb?x=1", "http://[::1]:60000/cb?x=1"),
    ],
)
async def test_a_loopback_redirect_uri_matches_with_any_port(
    client: OAuthClient, registered: str, requested: str
) -> None:
    registration = await client.register(redirect_uris=[registered])
    url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=requested)
    assert "code" in await client.authorize(url)


@pytest.mark.requirement("complaints:python-sdk-897", "oauth21:private-scheme")
async def test_an_app_scheme_is_accepted(client: OAuthClient) -> None:
    uri = "cursor://anysphere.cursor-retrieval/oauth/callback"
    registration = await client.register(redirect_uris=[uri])
    url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=uri)
    done = await client.http.get(await client.at_callback(url))
    assert done.headers["Location"].startswith(f"{uri}?code=")


FAULTS = [
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": ["a" * 43, "b" * 43]}, "invalid_request"),
    ({"response_type": None}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "code token"}, "unsupported_response_type"),
    ({"response_mode": "fragment"}, "invalid_request"),
    ({"request": "ey..."}, "invalid_request"),
    ({"scope": "mcp.nothing"}, "invalid_scope"),
    ({"scope": 'quo"ted'}, "invalid_scope"),
    ({"resource": "https://elsewhere.example/mcp"}, "invalid_target"),
]


@pytest.mark.requirement("mcp:oauth-2-1", "mcp:iss", "oauth21:error-redirect", "rfc9207:iss")
@pytest.mark.parametrize(("parameters", "error"), FAULTS)
async def test_other_errors_go_back_to_the_client_with_state_and_issuer(
    client: OAuthClient, parameters: dict[str, str | list[str] | None], error: str
) -> None:
    registration = await client.register()
    answer = await client.http.get(client.authorize_url(registration.client_id, CHALLENGE, **parameters))
    assert answer.status_code == 302
    came_back = answered(answer.headers["Location"])
    assert (came_back["error"], came_back["state"], came_back["iss"]) == (
        error,
        "state-of-the-client",
        client.issuer,
    )


@pytest.mark.parametrize(("parameters", "error"), [*FAULTS, ({"prompt": "none"}, "login_required")])
@pytest.mark.parametrize("uri", [APP, "cursor://anysphere.cursor-mcp/oauth/callback"])
async def test_before_the_sign_in_no_error_is_redirected_to_an_address_of_a_self_registered_client(
    client: OAuthClient, uri: str, parameters: dict[str, str | list[str] | None], error: str
) -> None:
    """RFC 9700 section 4.11.2: otherwise a link to the gateway is a link to any page that an
    attacker registers.
    """
    registration = await client.register(redirect_uris=[uri])
    url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=uri, **parameters)
    answer = await client.http.get(url)
    assert (answer.status_code, answer.headers.get("Location")) == (400, None)
    link = re.search(r'<a href="([^"]+)" rel="noreferrer">', answer.text)
    assert link is not None
    back = html.unescape(link[1])
    assert back.startswith(f"{uri}?")
    assert (answered(back)["error"], answered(back)["state"]) == (error, "state-of-the-client")


async def test_cancelling_before_the_sign_in_is_not_redirected_and_after_it_is(client: OAuthClient) -> None:
    registration = await client.register(redirect_uris=[APP])
    url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=APP)
    cancelled = await client.consent(url, "deny")
    assert cancelled.status_code == 400
    assert "error=access_denied" in cancelled.text
    other = await client.register()
    await client.code(other.client_id, Pkce.fresh())
    assert answered((await client.consent(url, "deny")).headers["Location"])["error"] == "access_denied"


async def test_an_error_is_redirected_to_a_client_that_a_person_has_allowed(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register(redirect_uris=[APP], token_endpoint_auth_method="none")
    pkce = Pkce.fresh()
    faulty = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=APP, scope="mcp.nothing")
    assert (await client.http.get(faulty)).status_code == 400
    code = await client.code(registration.client_id, pkce, redirect_uri=APP)
    tokens = await client.redeem(registration.client_id, code, pkce.verifier, redirect_uri=APP)
    async with OAuthClient(web.issuer) as stranger:
        answer = await stranger.http.get(faulty)
        assert answered(answer.headers["Location"])["error"] == "invalid_scope"
        given = {"token": tokens.json()["refresh_token"], "client_id": registration.client_id}
        assert (await client.http.post(f"{web.issuer}/revoke", data=given)).status_code == 200


@pytest.mark.requirement("best-practices:redirect-uri")
async def test_the_consent_of_a_person_covers_the_redirect_uri_they_used_and_no_later_one(
    web: WebServer, client: OAuthClient
) -> None:
    """RFC 9700 section 4.11.2: otherwise a client becomes an open redirector by a change of its redirect URIs (RFC
    7592).
    """
    later, never_used = "https://later.example/callback", "https://never-used.example/callback"
    registration = await client.register(redirect_uris=[APP, never_used], token_endpoint_auth_method="none")
    pkce = Pkce.fresh()
    code = await client.code(registration.client_id, pkce, redirect_uri=APP)
    tokens = await client.redeem(registration.client_id, code, pkce.verifier, redirect_uri=APP)
    changed = await client.http.put(
        registration.document["registration_client_uri"],
        json={
            "client_id": registration.client_id,
            "redirect_uris": [APP, never_used, later],
            "token_endpoint_auth_method": "none",
        },
        headers=registration.management,
    )
    assert changed.status_code == 200

    async def answer_to_a_fault(uri: str) -> httpx2.Response:
        url = client.authorize_url(registration.client_id, CHALLENGE, redirect_uri=uri, scope="mcp.nothing")
        async with OAuthClient(web.issuer) as stranger:
            return await stranger.http.get(url)

    assert (await answer_to_a_fault(APP)).status_code == 302
    for uri in (later, never_used):
        answer = await answer_to_a_fault(uri)
        assert (answer.status_code, answer.headers.get("Location")) == (400, None)
    given = {"token": tokens.json()["refresh_token"], "client_id": registration.client_id}
    assert (await client.http.post(f"{web.issuer}/revoke", data=given)).status_code == 200
    assert (await answer_to_a_fault(APP)).status_code == 400, "the consent ended"


async def test_a_state_sent_twice_is_not_echoed(client: OAuthClient) -> None:
    registration = await client.register()
    answer = await client.http.get(client.authorize_url(registration.client_id, CHALLENGE, state=["one", "two"]))
    came_back = answered(answer.headers["Location"])
    assert came_back["error"] == "invalid_request"
    assert "state" not in came_back


async def test_missing_and_additional_parameters_of_real_clients_are_accepted(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    for parameters in (
        {"state": None},
        {"scope": "offline_access mcp.time", "prompt": "consent"},
        {"scope": "mcp.time mcp.unknown"},
        {"resource": [web.resource, web.other_resource]},
        {"nonce": "n", "display": "page"},
    ):
        came_back = await client.authorize(client.authorize_url(registration.client_id, CHALLENGE, **parameters))
        assert "code" in came_back


@pytest.mark.requirement("rfc9207:iss")
async def test_refused_consent_is_returned_as_access_denied(client: OAuthClient) -> None:
    registration = await client.register()
    answer = await client.consent(client.authorize_url(registration.client_id, CHALLENGE), "deny")
    came_back = answered(answer.headers["Location"])
    assert (came_back["error"], came_back["iss"]) == ("access_denied", client.issuer)


@pytest.mark.requirement("oauth21:owner-consent")
async def test_a_form_takes_effect_once_and_its_answer_is_the_same_each_time(client: OAuthClient) -> None:
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    answers = await asyncio.gather(*(pressed(client, form, "allow") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {303}
    (to_github,) = {answer.headers["Location"] for answer in answers}
    again = await pressed(client, form, "allow")
    assert again.headers["Location"] == to_github


@pytest.mark.parametrize(("first", "then"), [("deny", "allow"), ("allow", "deny"), ("allow", "other")])
async def test_only_the_first_decision_of_a_form_counts(client: OAuthClient, first: str, then: str) -> None:
    other = await client.register()
    await client.code(other.client_id, Pkce.fresh())
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    answers = [(await pressed(client, form, decision)).headers["Location"] for decision in (first, then, first)]
    assert len(set(answers)) == 1
    assert ("code" in answered(answers[0])) == (first == "allow")


async def test_decisions_sent_at_the_same_moment_get_one_answer(client: OAuthClient) -> None:
    other = await client.register()
    await client.code(other.client_id, Pkce.fresh())
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    answers = await asyncio.gather(*(pressed(client, form, decision) for decision in ("allow", "deny") * 5))
    assert len({answer.headers["Location"] for answer in answers}) == 1


async def test_an_answered_form_is_refused_in_another_browser_and_later(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    assert (await pressed(client, form, "allow")).status_code == 303
    async with OAuthClient(client.issuer) as stranger:
        await stranger.consent_form(stranger.authorize_url(registration.client_id, CHALLENGE))
        assert (await pressed(stranger, form, "allow")).status_code == 400
    with web.redis.client() as redis:
        key = f"answer:{hash_secret(form['handle'])}"
        assert 0 < redis.ttl(key) <= 60
        redis.delete(key)
    assert (await pressed(client, form, "allow")).status_code == 400


@pytest.mark.requirement("mcp:deputy-consent", "oauth21:csrf")
@pytest.mark.requirement("best-practices:consent-csrf")
async def test_another_browser_can_neither_submit_nor_consume_the_form(client: OAuthClient) -> None:
    registration = await client.register()
    form = {
        **await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE)),
        "decision": "allow",
    }
    async with OAuthClient(client.issuer) as stranger:
        await stranger.consent_form(stranger.authorize_url(registration.client_id, CHALLENGE))
        refused = await stranger.http.post(f"{client.issuer}/authorize/consent", data=form)
        assert refused.status_code == 400
    assert (await client.http.post(f"{client.issuer}/authorize/consent", data=form)).status_code == 303


@pytest.mark.requirement("oauth21:csrf")
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_from_another_origin_is_refused(client: OAuthClient, headers: dict[str, str]) -> None:
    registration = await client.register()
    form = {
        **await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE)),
        "decision": "allow",
    }
    answer = await client.http.post(f"{client.issuer}/authorize/consent", data=form, headers=headers)
    assert answer.status_code == 400


@pytest.mark.parametrize("headers", [{"Origin": "null"}, {"Origin": "null", "Sec-Fetch-Site": "same-origin"}])
async def test_a_browser_that_sends_origin_null_can_submit_the_form(
    client: OAuthClient, headers: dict[str, str]
) -> None:
    registration = await client.register()
    form = await client.consent_form(client.authorize_url(registration.client_id, CHALLENGE))
    answer = await client.http.post(
        f"{client.issuer}/authorize/consent", data={**form, "decision": "allow"}, headers=headers
    )
    assert answer.status_code == 303


async def test_a_browser_that_blocks_cookies_gets_an_explanation(client: OAuthClient) -> None:
    registration = await client.register()
    url = client.authorize_url(registration.client_id, CHALLENGE)
    form = await client.consent_form(url)
    callback = await client.at_callback(url)
    client.http.cookies.clear()
    for answer in (await pressed(client, form, "allow"), await client.http.get(callback)):
        assert answer.status_code == 400
        assert "did not send the cookie" in answer.text
        assert "localhost" in answer.text


@pytest.mark.parametrize("form", [{}, {"handle": ""}, {"handle": "x" * 43}, {"handle": ["a", "b"]}])
async def test_a_form_without_a_valid_handle_is_a_page_with_400(
    client: OAuthClient, form: dict[str, str | list[str]]
) -> None:
    answer = await client.http.post(f"{client.issuer}/authorize/consent", data={**form, "decision": "allow"})
    assert answer.status_code == 400
    assert answer.headers["Content-Type"].startswith("text/html")
