"""The device flow (RFC 8628): a device shows a code, a person types it, and the device gets tokens once."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest

from oauth_core.credentials import hash_secret
from oauth_core.device import GRANT_TYPE
from oauth_core.store.devices import ATTEMPTS_OF_A_BROWSER, ATTEMPTS_OF_ALL
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, form_value
from tests.support.web_process import running_web
from tests.web.test_token import assert_refused, claims_of, live_tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.support.web_process import WebServer


@pytest.fixture(autouse=True)
def _no_attempts_so_far(web: WebServer) -> Iterator[None]:
    """Everybody's attempts are counted together, also those of other tests."""
    with web.redis.client() as redis:
        redis.delete("device-attempts")
        yield


async def registered(client: OAuthClient, **members: object) -> str:
    """The id of a client as mcp-remote registers itself for this flow."""
    registration = await client.register(
        grant_types=[GRANT_TYPE, "refresh_token"], client_name="Television", **members
    )
    return registration.client_id


async def started(client: OAuthClient, client_id: str, **form: str) -> dict[str, Any]:
    """The codes that a device got."""
    answer = await client.http.post(f"{client.issuer}/device_authorization", data={"client_id": client_id, **form})
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


async def polled(client: OAuthClient, client_id: str, device_code: str, **form: str) -> httpx2.Response:
    """A device asks for its tokens."""
    return await client.token(
        {"grant_type": GRANT_TYPE, "client_id": client_id, "device_code": device_code, **form}
    )


async def typed(person: OAuthClient, user_code: str) -> httpx2.Response:
    """A person types a code."""
    return await person.http.post(f"{person.issuer}/device", data={"user_code": user_code})


async def consented(person: OAuthClient, user_code: str, decision: str = "allow") -> httpx2.Response:
    """A person types a code and presses a button of the consent page."""
    page = await typed(person, user_code)
    assert page.status_code == 200, page.text
    form = {"handle": form_value(page.text, "handle"), "decision": decision}
    return await person.http.post(f"{person.issuer}/authorize/consent", data=form)


async def at_callback(person: OAuthClient, user_code: str, login: str = "octocat") -> str:
    """A person consents and signs in with the stand-in; answers the address of our callback, not yet visited."""
    to_github = await consented(person, user_code)
    assert to_github.status_code == 303, to_github.text
    page = await person.http.get(to_github.headers["Location"])
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page.text))
    back = await person.http.post(str(page.url), data={**fields, "login": login})
    return str(back.headers["Location"])


async def approved(person: OAuthClient, user_code: str, login: str = "octocat") -> httpx2.Response:
    """The whole way of a person; answers the last page."""
    return await person.http.get(await at_callback(person, user_code, login))


# -- the way it is meant to go -----------------------------------------------------------------------------------


async def test_a_device_gets_tokens_after_its_person_signed_in(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id, resource=web.resource)
    assert codes.keys() == {
        "device_code", "user_code", "verification_uri", "verification_uri_complete", "expires_in", "interval",
    }  # fmt: skip
    assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}-[BCDFGHJKLMNPQRSTVWXZ]{4}", codes["user_code"])
    assert (codes["verification_uri"], codes["expires_in"], codes["interval"]) == (f"{web.issuer}/device", 600, 5)
    assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")
    async with OAuthClient(web.issuer) as person:
        done = await approved(person, codes["user_code"])
        assert (done.status_code, "Connected" in done.text) == (200, True)
    answer = await polled(client, client_id, codes["device_code"])
    assert answer.status_code == 200, answer.text
    claims = await claims_of(client, answer.json()["access_token"])
    assert (claims["github_user"], claims["client_id"]) == ("octocat", client_id)
    assert (claims["aud"], claims["scope"]) == (web.resource, "mcp.time")
    assert claims["jti"] in live_tokens(web)
    refreshed = await client.refresh(client_id, answer.json()["refresh_token"])
    assert refreshed.status_code == 200, refreshed.text


async def test_the_endpoint_is_advertised_and_the_grant_too(client: OAuthClient) -> None:
    document = (await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")).json()
    assert document["device_authorization_endpoint"] == f"{client.issuer}/device_authorization"
    assert GRANT_TYPE in document["grant_types_supported"]


async def test_a_client_may_register_for_redirects_and_devices_both(client: OAuthClient) -> None:
    registration = await client.register(grant_types=["authorization_code", GRANT_TYPE])
    assert registration.document["grant_types"] == ["authorization_code", "refresh_token", GRANT_TYPE]
    await started(client, registration.client_id)
    assert (await client.tokens(registration.client_id))["access_token"]


async def test_a_device_need_not_register_a_redirect_uri(client: OAuthClient) -> None:
    answer = await client.http.post(
        f"{client.issuer}/register",
        json={"grant_types": [GRANT_TYPE], "token_endpoint_auth_method": "none"},
    )
    assert answer.status_code == 201, answer.text
    assert (answer.json()["redirect_uris"], answer.json()["response_types"]) == ([], [])
    await started(client, answer.json()["client_id"])


async def test_the_link_with_the_code_fills_in_the_form_and_does_nothing_else(
    web: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    link = codes["verification_uri_complete"]
    assert parse_qs(urlsplit(link).query) == {"user_code": [codes["user_code"]]}
    for _ in range(ATTEMPTS_OF_A_BROWSER + 1):
        page = await client.http.get(link)
        assert f'value="{codes["user_code"]}"' in page.text
        assert "Television" not in page.text
    assert (await typed(client, codes["user_code"])).status_code == 200


@pytest.mark.parametrize("query", ["user_code=%22%3E%3Cscript%3E", "user_code=AAAA", "", "user_code="])
async def test_a_link_can_put_nothing_but_a_code_into_the_page(client: OAuthClient, query: str) -> None:
    page = await client.http.get(f"{client.issuer}/device?{query}")
    assert page.status_code == 200
    assert 'value=""' in page.text


async def test_the_consent_page_says_who_asks_for_what_and_warns(client: OAuthClient) -> None:
    codes = await started(client, await registered(client), scope="mcp.notes")
    page = await typed(client, codes["user_code"].lower().replace("-", " "))
    assert page.status_code == 200
    for text in ("Television", "Notes", codes["user_code"], "started this on your own device"):
        assert text in page.text
    assert "Time and time zones" not in page.text
    assert "127.0.0.1:7777" not in page.text


# -- no, and too late --------------------------------------------------------------------------------------------


async def test_a_person_who_cancels_denies_the_device_for_good(client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    page = await consented(client, codes["user_code"], "deny")
    assert (page.status_code, "Not connected" in page.text) == (200, True)
    for _ in range(2):
        assert_refused(await polled(client, client_id, codes["device_code"]), "access_denied")
    assert (await typed(client, codes["user_code"])).status_code == 400


async def test_a_person_who_is_not_admitted_denies_the_device(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    page = await approved(client, codes["user_code"], "stranger")
    assert "stranger may not use this gateway" in page.text
    assert_refused(await polled(client, client_id, codes["device_code"]), "access_denied")


async def test_github_being_away_decides_nothing() -> None:
    with running_web({"GITHUB_BACKCHANNEL_URL": "http://127.0.0.1:1"}) as server:
        async with OAuthClient(server.issuer) as client:
            client_id = await registered(client)
            codes = await started(client, client_id)
            assert (await approved(client, codes["user_code"])).status_code == 503
            assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")
            assert (await typed(client, codes["user_code"])).status_code == 200


async def test_of_two_people_with_one_code_the_first_decides(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    async with OAuthClient(web.issuer) as one, OAuthClient(web.issuer) as other:
        first, second = (
            await at_callback(one, codes["user_code"]),
            await at_callback(other, codes["user_code"], "monalisa"),
        )
        assert "Connected" in (await one.http.get(first)).text
        assert (await other.http.get(second)).status_code == 400
    claims = await claims_of(
        client, (await polled(client, client_id, codes["device_code"])).json()["access_token"]
    )
    assert claims["github_user"] == "octocat"


def put_back(web: WebServer, device_code: str, seconds: int) -> None:
    """Let the device have been started `seconds` earlier than it was."""
    key = f"device:{hash_secret(device_code)}"
    with web.redis.client() as redis:
        record = str(redis.hget(key, "record"))
        redis.hset(
            key,
            "record",
            re.sub(r'(_at":)(\d+)', lambda found: f"{found[1]}{int(found[2]) - seconds}", record),
        )


async def test_an_expired_code_is_told_to_the_device_and_looks_unknown_to_people(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    put_back(web, codes["device_code"], 600)
    assert_refused(await polled(client, client_id, codes["device_code"]), "expired_token")
    expired, unknown = await typed(client, codes["user_code"]), await typed(client, "BCDF-GHJK")
    assert expired.status_code == 400
    assert expired.text == unknown.text


async def test_a_code_that_expires_while_its_person_is_at_github_connects_nothing(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    callback = await at_callback(client, codes["user_code"])
    put_back(web, codes["device_code"], 600)
    assert (await client.http.get(callback)).status_code == 400
    assert_refused(await polled(client, client_id, codes["device_code"]), "expired_token")


async def test_a_device_that_was_approved_must_fetch_its_tokens_in_time(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    await approved(client, codes["user_code"])
    put_back(web, codes["device_code"], 600)
    assert_refused(await polled(client, client_id, codes["device_code"]), "expired_token")


async def test_the_user_code_leaves_redis_in_time_and_the_device_code_a_little_later(
    web: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    with web.redis.client() as redis:
        user_code = redis.ttl(f"device-code:{hash_secret(codes['user_code'].replace('-', ''))}")
        device_code = redis.ttl(f"device:{hash_secret(codes['device_code'])}")
    assert 0 < user_code <= 600 < device_code <= 1200


# -- polling -----------------------------------------------------------------------------------------------------


async def test_polling_too_fast_makes_the_interval_longer_each_time(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")
    for _ in range(2):
        assert_refused(await polled(client, client_id, codes["device_code"]), "slow_down")
    with web.redis.client() as redis:
        assert '"interval":15' in str(redis.hget(f"device:{hash_secret(codes['device_code'])}", "pace"))


async def test_of_many_polls_at_once_one_is_in_time(client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    answers = await asyncio.gather(*(polled(client, client_id, codes["device_code"]) for _ in range(30)))
    errors = sorted(answer.json()["error"] for answer in answers)
    assert errors == ["authorization_pending"] + ["slow_down"] * 29


async def test_of_fifty_polls_after_the_approval_one_gets_tokens(client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    await approved(client, codes["user_code"])
    answers = await asyncio.gather(*(polled(client, client_id, codes["device_code"]) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 49
    assert {answer.json().get("error") for answer in answers} == {None, "invalid_grant"}


async def test_waiting_fills_no_audit_log(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    await polled(client, client_id, codes["device_code"])
    await polled(client, client_id, codes["device_code"])
    await polled(client, client_id, "made-up")
    refused = [line for line in web.log.read_text().splitlines() if client_id in line and "token.refused" in line]
    assert len(refused) == 1


# -- attacks -----------------------------------------------------------------------------------------------------


async def test_whoever_finds_a_device_code_can_neither_use_nor_slow_nor_burn_it(
    web: WebServer, client: OAuthClient
) -> None:
    client_id, stranger = await registered(client), await registered(client)
    codes = await started(client, client_id, scope="mcp.time")
    assert_refused(await polled(client, stranger, codes["device_code"]), "invalid_grant")
    assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")
    await approved(client, codes["user_code"])
    assert_refused(await polled(client, stranger, codes["device_code"]), "invalid_grant")
    wrong = await polled(client, client_id, codes["device_code"], resource=web.other_resource)
    assert_refused(wrong, "invalid_target")
    assert (await polled(client, client_id, codes["device_code"])).status_code == 200


async def test_a_confidential_device_must_prove_itself_at_both_endpoints(client: OAuthClient) -> None:
    registration = await client.register(grant_types=[GRANT_TYPE], token_endpoint_auth_method="client_secret_post")
    url = f"{client.issuer}/device_authorization"
    naked = {"client_id": registration.client_id}
    assert_refused(await client.http.post(url, data=naked), "invalid_client", 401)
    proof = {**naked, "client_secret": registration.secret}
    codes = (await client.http.post(url, data=proof)).json()
    assert_refused(await polled(client, registration.client_id, codes["device_code"]), "invalid_client", 401)


async def test_who_did_not_register_for_a_flow_cannot_use_it(client: OAuthClient) -> None:
    registration = await client.register()
    answer = await client.http.post(
        f"{client.issuer}/device_authorization", data={"client_id": registration.client_id}
    )
    assert_refused(answer, "unauthorized_client")
    url = client.authorize_url(await registered(client), Pkce.fresh().challenge)
    location = (await client.http.get(url)).headers["Location"]
    assert location.startswith(REDIRECT_URI)
    assert "error=unauthorized_client" in location


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "mcp.unknown"}, "invalid_scope"),
        ({"scope": 'a"b'}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"scope": ["mcp.time", "mcp.notes"]}, "invalid_request"),
    ],
)
async def test_a_device_is_asked_for_as_a_client_is(
    client: OAuthClient, form: dict[str, str | list[str]], error: str
) -> None:
    client_id = await registered(client)
    answer = await client.http.post(f"{client.issuer}/device_authorization", data={"client_id": client_id, **form})
    assert_refused(answer, error)


async def test_a_browser_may_try_ten_codes_and_no_more_even_a_right_one(
    web: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    await client.http.get(f"{web.issuer}/device")
    for _ in range(ATTEMPTS_OF_A_BROWSER):
        assert (await typed(client, "BCDF-GHJK")).status_code == 400
    refused = await typed(client, codes["user_code"])
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "60")
    assert "Television" not in refused.text
    async with OAuthClient(web.issuer) as person:
        assert (await typed(person, codes["user_code"])).status_code == 200


async def test_browsers_that_forget_their_cookie_share_one_limit(web: WebServer, client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    with web.redis.client() as redis:
        redis.set("device-attempts", ATTEMPTS_OF_ALL - 1, ex=60)
    for status in (400, 429):
        client.http.cookies.clear()
        assert (await typed(client, "BCDF-GHJK")).status_code == status
    client.http.cookies.clear()
    assert (await typed(client, codes["user_code"])).status_code == 429
    with web.redis.client() as redis:
        assert 0 < redis.ttl("device-attempts") <= 60


async def test_another_page_cannot_send_the_code_form(client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    answer = await client.http.post(
        f"{client.issuer}/device",
        data={"user_code": codes["user_code"]},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 400
    assert "Television" not in answer.text


async def test_consent_in_another_browser_is_refused_and_spends_nothing(
    web: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    page = await typed(client, codes["user_code"])
    form = {"handle": form_value(page.text, "handle"), "decision": "allow"}
    async with OAuthClient(web.issuer) as stranger:
        assert (await stranger.http.post(f"{web.issuer}/authorize/consent", data=form)).status_code == 400
    assert (await client.http.post(f"{web.issuer}/authorize/consent", data=form)).status_code == 303


async def test_github_s_answer_in_another_browser_connects_nothing(web: WebServer, client: OAuthClient) -> None:
    """Otherwise an attacker could have a victim's browser finish what they began, or the other way round."""
    client_id = await registered(client)
    codes = await started(client, client_id)
    callback = await at_callback(client, codes["user_code"])
    async with OAuthClient(web.issuer) as stranger:
        assert (await stranger.http.get(callback)).status_code == 400
    assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")


async def test_a_client_deleted_meanwhile_gets_nothing(client: OAuthClient) -> None:
    registration = await client.register(grant_types=[GRANT_TYPE])
    codes = await started(client, registration.client_id)
    url = f"{client.issuer}/register/{registration.client_id}"
    assert (await client.http.delete(url, headers=registration.management)).status_code == 204
    assert (await typed(client, codes["user_code"])).status_code == 400
    assert_refused(await polled(client, registration.client_id, codes["device_code"]), "invalid_client", 401)


async def test_neither_code_is_readable_in_redis_or_in_the_log(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    await typed(client, codes["user_code"])
    await polled(client, client_id, codes["device_code"])
    with web.redis.client() as redis:
        kept = " ".join(
            f"{key} {redis.hgetall(key) if redis.type(key) == 'hash' else redis.get(key)}"
            for pattern in ("device*", "pending:*")
            for key in redis.keys(pattern)
        )
    assert client_id in kept
    for text in (kept, web.log.read_text()):
        for secret in (codes["device_code"], codes["user_code"], codes["user_code"].replace("-", "")):
            assert secret not in text


async def test_a_made_up_device_code_is_an_invalid_grant(client: OAuthClient) -> None:
    client_id = await registered(client)
    for made_up in ("x", "\u00e9" * 40, "*", str(time.time())):
        assert_refused(await polled(client, client_id, made_up), "invalid_grant")
    assert_refused(await client.token({"grant_type": GRANT_TYPE, "client_id": client_id}), "invalid_request")
