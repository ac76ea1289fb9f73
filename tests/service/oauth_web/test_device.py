"""The device flow (RFC 8628): a device shows a code, a person types it, and the device gets tokens once."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from oauth_core.crypto.credentials import hash_secret
from oauth_core.grant_types import DEVICE_CODE
from oauth_core.store.records.devices import ATTEMPTS_OF_A_BROWSER
from tests.service.oauth_web.issued_tokens import assert_refused, claims_of, live_tokens
from tests.support.device_flow import (
    approved,
    at_callback,
    consented,
    polled,
    put_back,
    registered,
    started,
    typed,
)
from tests.support.oauth_client import OAuthClient
from tests.support.web_process import running_web

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.web_process import WebServer


@pytest.fixture(autouse=True)
def _no_attempts_so_far(web: WebServer) -> Iterator[None]:
    """The attempts of all browsers are counted together, also those of other tests."""
    with web.redis.client() as redis:
        for key in redis.scan_iter("device-*attempts*"):
            redis.delete(key)
        yield


# -- the usual way ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc8628:answer", "rfc8628:pending")
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


@pytest.mark.requirement("rfc8628:advertised")
async def test_the_endpoint_and_the_grant_type_are_advertised(client: OAuthClient) -> None:
    document = (await client.http.get(f"{client.issuer}/.well-known/oauth-authorization-server")).json()
    assert document["device_authorization_endpoint"] == f"{client.issuer}/device_authorization"
    assert DEVICE_CODE in document["grant_types_supported"]


async def test_a_client_may_register_for_redirects_and_for_devices(client: OAuthClient) -> None:
    registration = await client.register(grant_types=["authorization_code", DEVICE_CODE])
    assert registration.document["grant_types"] == ["authorization_code", "refresh_token", DEVICE_CODE]
    await started(client, registration.client_id)
    assert (await client.tokens(registration.client_id))["access_token"]


async def test_a_device_need_not_register_a_redirect_uri(client: OAuthClient) -> None:
    answer = await client.http.post(
        f"{client.issuer}/register",
        json={"grant_types": [DEVICE_CODE], "token_endpoint_auth_method": "none"},
    )
    assert answer.status_code == 201, answer.text
    assert (answer.json()["redirect_uris"], answer.json()["response_types"]) == ([], [])
    await started(client, answer.json()["client_id"])


@pytest.mark.requirement("rfc8628:confirm")
async def test_the_link_with_the_code_only_fills_in_the_form(web: WebServer, client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    link = codes["verification_uri_complete"]
    assert parse_qs(urlsplit(link).query) == {"user_code": [codes["user_code"]]}
    for _ in range(ATTEMPTS_OF_A_BROWSER + 1):
        page = await client.http.get(link)
        assert f'value="{codes["user_code"]}"' in page.text
        assert "Television" not in page.text
    assert (await typed(client, codes["user_code"])).status_code == 200


@pytest.mark.requirement("oauth21:injection")
@pytest.mark.parametrize("query", ["user_code=%22%3E%3Cscript%3E", "user_code=AAAA", "", "user_code="])
async def test_a_link_can_put_only_a_code_into_the_page(client: OAuthClient, query: str) -> None:
    page = await client.http.get(f"{client.issuer}/device?{query}")
    assert page.status_code == 200
    assert 'value=""' in page.text


@pytest.mark.requirement("rfc8628:show-code", "rfc8628:phishing")
async def test_the_consent_page_shows_the_client_and_the_services_and_warns(client: OAuthClient) -> None:
    codes = await started(client, await registered(client), scope="mcp.notes")
    page = await typed(client, codes["user_code"].lower().replace("-", " "))
    assert page.status_code == 200
    for text in ("Television", "Notes", codes["user_code"], "started this on your own device"):
        assert text in page.text
    assert "Time and time zones" not in page.text
    assert "127.0.0.1:7777" not in page.text


# -- denied, and expired ------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc8628:denied")
async def test_a_person_who_cancels_denies_the_device_finally(client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    page = await consented(client, codes["user_code"], "deny")
    assert (page.status_code, "Not connected" in page.text) == (200, True)
    for _ in range(2):
        assert_refused(await polled(client, client_id, codes["device_code"]), "access_denied")
    assert (await typed(client, codes["user_code"])).status_code == 400


async def test_a_person_who_is_not_eligible_denies_the_device(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    page = await approved(client, codes["user_code"], "stranger")
    assert "stranger may not use this gateway" in page.text
    assert_refused(await polled(client, client_id, codes["device_code"]), "access_denied")


async def test_an_outage_of_github_leaves_the_decision_open() -> None:
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


@pytest.mark.requirement("rfc8628:expired")
async def test_an_expired_code_is_reported_to_the_device_and_looks_unknown_to_people(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    put_back(web, codes["device_code"], 600)
    assert_refused(await polled(client, client_id, codes["device_code"]), "expired_token")
    expired, unknown = await typed(client, codes["user_code"]), await typed(client, "BCDF-GHJK")
    assert expired.status_code == 400
    assert expired.text == unknown.text


async def test_a_code_that_expires_during_the_sign_in_connects_nothing(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    callback = await at_callback(client, codes["user_code"])
    put_back(web, codes["device_code"], 600)
    assert (await client.http.get(callback)).status_code == 400
    assert_refused(await polled(client, client_id, codes["device_code"]), "expired_token")


async def test_an_approved_device_must_fetch_its_tokens_before_the_code_expires(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    await approved(client, codes["user_code"])
    put_back(web, codes["device_code"], 600)
    assert_refused(await polled(client, client_id, codes["device_code"]), "expired_token")


async def test_the_user_code_expires_in_redis_before_the_device_code(web: WebServer, client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    with web.redis.client() as redis:
        user_code = redis.ttl(f"device-code:{hash_secret(codes['user_code'].replace('-', ''))}")
        device_code = redis.ttl(f"device:{hash_secret(codes['device_code'])}")
    assert 0 < user_code <= 600 < device_code <= 1200


# -- polling -----------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc8628:slow-down")
async def test_polling_too_fast_makes_the_interval_longer_each_time(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")
    for _ in range(2):
        assert_refused(await polled(client, client_id, codes["device_code"]), "slow_down")
    with web.redis.client() as redis:
        assert '"interval":15' in str(redis.hget(f"device:{hash_secret(codes['device_code'])}", "pace"))


async def test_of_concurrent_polls_only_one_is_not_slow_down(client: OAuthClient) -> None:
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


async def test_polling_does_not_fill_the_audit_log(web: WebServer, client: OAuthClient) -> None:
    client_id = await registered(client)
    codes = await started(client, client_id)
    await polled(client, client_id, codes["device_code"])
    await polled(client, client_id, codes["device_code"])
    await polled(client, client_id, "made-up")
    refused = [line for line in web.log.read_text().splitlines() if client_id in line and "token.refused" in line]
    assert len(refused) == 1
