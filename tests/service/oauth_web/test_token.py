"""The token endpoint: codes and refresh tokens, each used once, and who may use them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import TYPE_CHECKING

import jwt
import pytest

from oauth_core.clients import client_assertions
from tests.service.oauth_web.issued_tokens import assert_refused, claims_of, live_tokens
from tests.support import assertions
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce
from tests.support.web_process import another_web, running_web

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.web_process import WebServer


@pytest.mark.requirement(
    "mcp:short-lived",
    "oauth21:short",
    "rfc6750:lifetime",
    "rfc8707:audience",
    "rfc9068:claims",
    "rfc9068:scope",
    "rfc9068:audience",
)
async def test_the_token_has_the_documented_claims_and_is_stored_until_it_expires(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    answer = await client.tokens(registration.client_id, resource=web.resource)
    claims = await claims_of(client, answer["access_token"])
    assert jwt.get_unverified_header(answer["access_token"])["typ"] == "at+jwt"
    assert claims.keys() == {
        "iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "github_user", "github_id",
    }  # fmt: skip
    assert (claims["iss"], claims["aud"], claims["scope"]) == (web.issuer, web.resource, "mcp.time")
    assert (claims["github_user"], claims["client_id"]) == ("octocat", registration.client_id)
    assert claims["sub"] == str(claims["github_id"])
    assert claims["exp"] - claims["iat"] == answer["expires_in"] == 1800
    assert (answer["token_type"], answer["scope"]) == ("Bearer", "mcp.time")
    with web.redis.client() as redis:
        assert abs(redis.ttl(f"token:{claims['jti']}") - (claims["exp"] - time.time())) < 3


@pytest.mark.requirement("rfc9068:default-audience")
async def test_without_a_resource_the_audience_is_every_service_the_scopes_reach(
    web: WebServer, client: OAuthClient
) -> None:
    registration = await client.register()
    answer = await client.tokens(registration.client_id, scope="mcp.time mcp.notes")
    claims = await claims_of(client, answer["access_token"])
    assert claims["aud"] == [web.resource, web.other_resource]


@pytest.mark.requirement("oauth21:code-once", "oauth21:code-replay")
async def test_a_code_is_redeemed_once_and_its_replay_revokes_the_tokens(
    web: WebServer, client: OAuthClient
) -> None:
    registration, pkce = await client.register(), Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    first = (await client.redeem(registration.client_id, code, pkce.verifier)).json()
    jti = (await claims_of(client, first["access_token"]))["jti"]
    assert jti in live_tokens(web)
    assert_refused(await client.redeem(registration.client_id, code, pkce.verifier), "invalid_grant")
    assert jti not in live_tokens(web)
    assert_refused(await client.refresh(registration.client_id, first["refresh_token"]), "invalid_grant")


async def test_of_fifty_redemptions_of_one_code_at_most_one_succeeds_and_its_tokens_end(
    web: WebServer, client: OAuthClient
) -> None:
    registration, pkce = await client.register(), Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    before = live_tokens(web)
    answers = await asyncio.gather(
        *(client.redeem(registration.client_id, code, pkce.verifier) for _ in range(50))
    )
    assert [answer.status_code for answer in answers].count(400) >= 49
    assert live_tokens(web) == before
    for won in [answer.json() for answer in answers if answer.status_code == 200]:
        assert_refused(await client.refresh(registration.client_id, won["refresh_token"]), "invalid_grant")


@pytest.mark.requirement("oauth21:pkce", "rfc7636:compare", "rfc8707:invalid-target")
async def test_another_client_can_neither_use_nor_consume_a_code(web: WebServer, client: OAuthClient) -> None:
    registration, stranger, pkce = await client.register(), await client.register(), Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    good = {"client_id": registration.client_id, "code": code, "code_verifier": pkce.verifier}
    for wrong in (
        {"code_verifier": Pkce.fresh().verifier},
        {"code_verifier": pkce.challenge},
        {"code_verifier": "short"},
        {"code_verifier": "x" * 129},
        {"code_verifier": pkce.verifier + " "},
        {"client_id": stranger.client_id},
        {"redirect_uri": "http://127.0.0.1:7778/callback"},
        {"redirect_uri": "https://evil.example/"},
    ):
        form = {"grant_type": "authorization_code", "redirect_uri": REDIRECT_URI, **good, **wrong}
        assert_refused(await client.token(form), "invalid_grant")
    elsewhere = {
        "grant_type": "authorization_code",
        "redirect_uri": REDIRECT_URI,
        **good,
        "resource": "https://x.example",
    }
    assert_refused(await client.token(elsewhere), "invalid_target")
    assert (await client.redeem(registration.client_id, code, pkce.verifier)).status_code == 200


async def test_an_unknown_code_is_refused(client: OAuthClient) -> None:
    registration = await client.register()
    assert_refused(await client.redeem(registration.client_id, "made-up", Pkce.fresh().verifier), "invalid_grant")


@pytest.mark.requirement("mcp:rotate")
async def test_refreshing_rotates_and_both_access_tokens_are_active(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    first = await client.tokens(registration.client_id)
    second = (await client.refresh(registration.client_id, first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    for answer in (first, second):
        assert (await claims_of(client, answer["access_token"]))["jti"] in live_tokens(web)


@pytest.mark.requirement("complaints:claude-code-85236")
async def test_concurrent_refreshes_all_get_the_same_successor(client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    answers = await asyncio.gather(
        *(client.refresh(registration.client_id, tokens["refresh_token"]) for _ in range(50))
    )
    assert {answer.status_code for answer in answers} == {200}
    successors = {answer.json()["refresh_token"] for answer in answers}
    assert len(successors) == 1
    assert (await client.refresh(registration.client_id, successors.pop())).status_code == 200


@pytest.mark.requirement("mcp:rotate", "oauth21:refresh-rotation")
async def test_a_reused_older_refresh_token_ends_the_family(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    first = await client.tokens(registration.client_id)
    second = (await client.refresh(registration.client_id, first["refresh_token"])).json()
    third = (await client.refresh(registration.client_id, second["refresh_token"])).json()
    web.let_pass_since_refreshes(first["refresh_token"], 11)
    assert_refused(await client.refresh(registration.client_id, first["refresh_token"]), "invalid_grant")
    assert_refused(await client.refresh(registration.client_id, third["refresh_token"]), "invalid_grant")
    for answer in (first, second, third):
        assert (await claims_of(client, answer["access_token"]))["jti"] not in live_tokens(web)
    assert "refresh.reused" in web.log.read_text()


async def test_a_repeated_refresh_gets_the_same_successor_within_the_retry_window(
    web: WebServer, client: OAuthClient
) -> None:
    me = (await client.register()).client_id
    tokens = await client.tokens(me)
    successor = (await client.refresh(me, tokens["refresh_token"])).json()
    web.let_pass_since_refreshes(tokens["refresh_token"], 3590)
    retried = await client.refresh(me, tokens["refresh_token"])
    assert retried.json()["refresh_token"] == successor["refresh_token"]
    web.let_pass_since_refreshes(tokens["refresh_token"], 20)
    assert_refused(await client.refresh(me, tokens["refresh_token"]), "invalid_grant")
    assert_refused(await client.refresh(me, successor["refresh_token"]), "invalid_grant")


async def test_a_refresh_that_is_repeated_from_another_address_has_its_own_event(
    web: WebServer, client: OAuthClient
) -> None:
    me = (await client.register()).client_id
    tokens = await client.tokens(me)

    async def events(address: str) -> list[str]:
        client.http.headers["X-Portcullis-Address"] = address
        so_far = len(web.log.read_text().splitlines())
        assert (await client.refresh(me, tokens["refresh_token"])).status_code == 200
        told = [json.loads(line) for line in web.log.read_text().splitlines()[so_far:] if me in line]
        return [event["event"] for event in told if "refresh" in event["event"]]

    assert await events("198.51.100.1") == ["token.refreshed"]
    assert await events("198.51.100.1") == ["refresh.repeated", "token.refreshed"]
    assert await events("2001:db8::1") == ["refresh.repeated_elsewhere", "token.refreshed"]
    with web.redis.client() as redis:
        grant = redis.hgetall(f"grant:{{{tokens['refresh_token'].partition('.')[0]}}}")
    assert "198.51.100" not in str(grant), "Redis must not contain the address of a person"


@pytest.mark.requirement("complaints:claude-code-85236")
async def test_a_late_process_of_a_client_gets_the_current_token_within_the_grace(
    web: WebServer, client: OAuthClient
) -> None:
    me = (await client.register()).client_id
    family = [(await client.tokens(me))["refresh_token"]]
    for _ in range(4):
        family.append((await client.refresh(me, family[-1])).json()["refresh_token"])
    for late in family[:-1]:
        answer = await client.refresh(me, late)
        assert (answer.status_code, answer.json()["refresh_token"]) == (200, family[-1])
    # The grace runs from the use of its successor, however long a token waited before that.
    web.let_pass_since_refreshes(family[0], 600)
    newest = (await client.refresh(me, family[-1])).json()["refresh_token"]
    assert (await client.refresh(me, family[-2])).json()["refresh_token"] == newest
    assert_refused(await client.refresh(me, family[-3]), "invalid_grant")
    assert_refused(await client.refresh(me, newest), "invalid_grant")


async def test_with_refresh_reuse_set_to_refuse_a_reused_token_ends_nothing(
    web: WebServer, client: OAuthClient
) -> None:
    me = (await client.register()).client_id
    first = await client.tokens(me)
    second = (await client.refresh(me, first["refresh_token"])).json()["refresh_token"]
    third = (await client.refresh(me, second)).json()["refresh_token"]
    web.let_pass_since_refreshes(third, 11)
    with another_web(web, {"REFRESH_REUSE": "refuse"}) as address:
        form = {"grant_type": "refresh_token", "client_id": me}
        reused = await client.http.post(f"{address}/token", data={**form, "refresh_token": first["refresh_token"]})
        assert_refused(reused, "invalid_grant")
        went_on = await client.http.post(f"{address}/token", data={**form, "refresh_token": third})
        assert went_on.status_code == 200
        logs = "".join(log.read_text() for log in web.log.parent.glob("another-*.log"))
    # The membership of other people is checked too, and may end their grants.
    of_mine = [line for line in logs.splitlines() if me in line]
    assert any("refresh.reused" in line for line in of_mine)
    assert not any("grant.revoked" in line for line in of_mine)


@pytest.mark.requirement("oauth21:refresh-secret")
async def test_a_guess_with_the_right_grant_id_ends_nothing(client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    grant, family, _secret = tokens["refresh_token"].split(".")
    for guess in (
        f"{grant}.{'x' * 22}.{'y' * 43}",
        f"{grant}.{family}",
        grant,
        "",
        f"{'z' * 22}.{family}.{'y' * 43}",
    ):
        answer = await client.refresh(registration.client_id, guess)
        assert answer.status_code == 400
    assert (await client.refresh(registration.client_id, tokens["refresh_token"])).status_code == 200


@pytest.mark.requirement("oauth21:refresh-bound")
async def test_another_client_can_neither_refresh_nor_end_a_family(client: OAuthClient) -> None:
    registration, stranger = await client.register(), await client.register()
    tokens = await client.tokens(registration.client_id)
    assert_refused(await client.refresh(stranger.client_id, tokens["refresh_token"]), "invalid_grant")
    assert (await client.refresh(registration.client_id, tokens["refresh_token"])).status_code == 200


@pytest.mark.requirement("oauth21:refresh-bound", "rfc8707:subset")
async def test_a_refresh_can_narrow_the_scope_but_not_widen_it(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id, scope="mcp.time mcp.notes")
    narrow = await client.refresh(
        registration.client_id, tokens["refresh_token"], scope="mcp.time", resource=web.resource
    )
    claims = await claims_of(client, narrow.json()["access_token"])
    assert (claims["scope"], claims["aud"]) == ("mcp.time", web.resource)
    again = (await client.refresh(registration.client_id, narrow.json()["refresh_token"])).json()
    assert again["scope"] == "mcp.time mcp.notes"
    only_time = await client.tokens(registration.client_id, scope="mcp.time", resource=web.resource)
    refresh_token = only_time["refresh_token"]
    assert_refused(await client.refresh(registration.client_id, refresh_token, scope="mcp.notes"), "invalid_scope")
    assert_refused(
        await client.refresh(registration.client_id, refresh_token, resource=web.other_resource), "invalid_target"
    )
    # Neither refusal consumed the token.
    assert (await client.refresh(registration.client_id, refresh_token)).status_code == 200


def basic(client_id: str, secret: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{client_id}:{secret}'.encode()).decode()}"}


@pytest.mark.requirement("mcp:oauth-2-1", "oauth21:basic")
async def test_a_confidential_client_may_authenticate_in_any_of_the_usual_ways(client: OAuthClient) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_basic")
    me, secret = registration.client_id, registration.secret
    in_form = {"client_id": me, "client_secret": secret}
    encoded = me.replace("-", "%2D").replace("_", "%5F")
    ways: list[tuple[Mapping[str, str], dict[str, str]]] = [
        ({}, basic(me, secret)),
        ({}, basic(encoded, secret)),
        ({"client_id": me}, basic(me, secret)),
        (in_form, basic(me, secret)),
        (in_form, {}),
    ]
    for form, headers in ways:
        pkce = Pkce.fresh()
        answer = await client.token(
            {
                "grant_type": "authorization_code",
                "code": await client.code(me, pkce),
                "code_verifier": pkce.verifier,
                "redirect_uri": REDIRECT_URI,
                **form,
            },
            headers,
        )
        assert answer.status_code == 200, answer.text


@pytest.mark.requirement("oauth21:invalid-client-401", "oauth21:refresh-auth")
async def test_a_confidential_client_without_valid_credentials_is_refused(client: OAuthClient) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    me = registration.client_id
    form = {"grant_type": "refresh_token", "refresh_token": "x"}
    attempts: list[tuple[Mapping[str, str], dict[str, str]]] = [
        ({"client_id": me}, {}),
        ({"client_id": me, "client_secret": "wrong"}, {}),
        ({"client_id": me, "client_secret": ""}, {}),
        ({}, basic(me, "wrong")),
        ({}, basic(me, "")),
        ({"client_id": "unknown"}, {}),
        ({}, basic("unknown", registration.secret)),
        ({}, {}),
        ({}, {"Authorization": "Basic !!!"}),
        ({}, {"Authorization": "Bearer x"}),
    ]
    for credentials, headers in attempts:
        answer = await client.token({**form, **credentials}, headers)
        assert_refused(answer, "invalid_client", 401)
        assert ("WWW-Authenticate" in answer.headers) is ("Authorization" in headers)


async def test_superfluous_credentials_of_a_public_client_are_ignored(
    client: OAuthClient,
) -> None:
    me = (await client.register()).client_id
    leftovers: list[tuple[dict[str, str], dict[str, str]]] = [
        ({"client_id": me, "client_secret": "dummy"}, {}),
        ({}, basic(me, "undefined")),
        ({"client_id": me}, {"Authorization": "Bearer of-yesterday"}),
        ({"client_id": me}, {"Authorization": "Basic !!!"}),
        ({"client_id": me, "client_assertion": "dummy"}, {}),
        ({"client_id": me, "client_assertion_type": "undefined"}, {}),
        ({"client_id": me, "client_assertion_type": client_assertions.TYPE}, {}),
        ({"client_id": me, "client_assertion_type": client_assertions.TYPE, "client_assertion": "a.b.c"}, {}),
        ({"client_id": me, **assertions.as_form(assertions.signed(me, client.issuer))}, {}),
        ({"client_id": me, **assertions.as_form(assertions.signed("another", client.issuer))}, {}),
        ({"client_id": me, "client_assertion": "dummy", "client_secret": "dummy"}, basic(me, "undefined")),
    ]
    for form, headers in leftovers:
        pkce = Pkce.fresh()
        code = await client.code(me, pkce)
        redeemed = await client.token(
            {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier, **form}, headers
        )
        assert redeemed.status_code == 200, redeemed.text
        refresh = {"grant_type": "refresh_token", "refresh_token": redeemed.json()["refresh_token"]}
        assert (await client.token({**refresh, **form}, headers)).status_code == 200


async def test_the_redirect_uri_of_a_client_with_several_may_be_left_out_at_the_token_endpoint(
    client: OAuthClient,
) -> None:
    me = (await client.register(redirect_uris=[REDIRECT_URI, "https://app.example/cb"])).client_id
    pkce = Pkce.fresh()
    form = {"grant_type": "authorization_code", "client_id": me, "code_verifier": pkce.verifier}
    answer = await client.token({**form, "code": await client.code(me, pkce)})
    assert answer.status_code == 200, answer.text


async def test_unknown_scopes_are_ignored_and_the_resource_gives_the_scope(
    web: WebServer, client: OAuthClient
) -> None:
    me = (await client.register()).client_id
    tokens = await client.tokens(me, scope="openid email profile", resource=web.resource)
    assert tokens["scope"] == "mcp.time"
    again = await client.refresh(me, tokens["refresh_token"], scope="openid email profile")
    assert (again.status_code, again.json()["scope"]) == (200, "mcp.time")


async def test_consent_and_token_have_only_scopes_of_the_requested_resources(
    web: WebServer, client: OAuthClient
) -> None:
    me, pkce = (await client.register()).client_id, Pkce.fresh()
    asked: dict[str, str] = {"scope": "mcp.time mcp.notes", "resource": web.resource}
    page = await client.http.get(client.authorize_url(me, pkce.challenge, **asked))
    assert "Time and time zones" in page.text
    assert "Notes" not in page.text
    tokens = await client.tokens(me, **asked)
    assert tokens["scope"] == "mcp.time"
    both = await client.tokens(me, scope="mcp.time mcp.notes")
    one = await client.refresh(me, both["refresh_token"], resource=web.other_resource)
    assert one.json()["scope"] == "mcp.notes"


@pytest.mark.requirement("oauth21:one-auth")
async def test_contradicting_credentials_are_refused(client: OAuthClient) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_basic")
    form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": "somebody-else"}
    assert_refused(await client.token(form, basic(registration.client_id, registration.secret)), "invalid_request")


@pytest.mark.requirement("oauth21:no-store", "oauth21:token-errors")
@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({}, "invalid_request"),
        ({"grant_type": ""}, "invalid_request"),
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, "invalid_request"),
        ({"grant_type": "refresh_token"}, "invalid_request"),
        ({"grant_type": ["authorization_code", "refresh_token"]}, "invalid_request"),
        ({"grant_type": "refresh_token", "refresh_token": "x" * 5000}, "invalid_request"),
    ],
)
async def test_a_malformed_request_gets_the_right_error(
    client: OAuthClient, form: dict[str, str | list[str]], error: str
) -> None:
    registration = await client.register()
    assert_refused(await client.token({"client_id": registration.client_id, **form}), error)


@pytest.mark.requirement("oauth21:token-post")
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data; boundary=x", None])
async def test_only_forms_are_accepted(client: OAuthClient, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = await client.http.post(f"{client.issuer}/token", content=b"grant_type=refresh_token", headers=headers)
    assert_refused(answer, "invalid_request", 415)


@pytest.mark.parametrize("body", [b"\xff=1", b"a=%ff", b"&".join(b"a%d=1" % n for n in range(200))])
async def test_undecodable_forms_are_refused(client: OAuthClient, body: bytes) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    assert_refused(
        await client.http.post(f"{client.issuer}/token", content=body, headers=headers), "invalid_request"
    )


async def test_an_outage_of_redis_is_503_everywhere_and_ends() -> None:
    with running_web({"REDIS_TIMEOUT": "0.3"}) as server:
        async with OAuthClient(server.issuer) as client:
            registration = await client.register()
            server.redis.pause()
            try:
                form = {"grant_type": "refresh_token", "refresh_token": "x", "client_id": registration.client_id}
                assert_refused(await client.token(form), "temporarily_unavailable", 503)
                page = await client.http.get(client.authorize_url(registration.client_id, Pkce.fresh().challenge))
                assert (page.status_code, page.headers["Retry-After"]) == (503, "2")
                assert "Traceback" not in page.text
                health = await client.http.get(f"{server.issuer}/healthz")
                assert health.status_code == 503
            finally:
                server.redis.resume()
            assert (await client.tokens(registration.client_id))["access_token"]
