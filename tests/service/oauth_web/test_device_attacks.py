"""The device flow under attack: guessing, theft, forgery and phishing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from oauth_core.grant_types import DEVICE_CODE
from oauth_core.store.records.devices import (
    ATTEMPTS_OF_A_BROWSER,
    FIRST_ATTEMPTS_OF_ALL,
    FIRST_ATTEMPTS_OF_AN_ADDRESS,
    FURTHER_ATTEMPTS_OF_ALL,
)
from tests.service.oauth_web.issued_tokens import assert_refused
from tests.support.device_flow import approved, at_callback, polled, registered, started, typed
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, form_value

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


async def test_another_client_can_neither_use_nor_slow_down_nor_consume_a_device_code(
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


@pytest.mark.requirement("rfc8628:authenticate")
async def test_a_confidential_device_must_authenticate_at_both_endpoints(client: OAuthClient) -> None:
    registration = await client.register(
        grant_types=[DEVICE_CODE], token_endpoint_auth_method="client_secret_post"
    )
    url = f"{client.issuer}/device_authorization"
    naked = {"client_id": registration.client_id}
    assert_refused(await client.http.post(url, data=naked), "invalid_client", 401)
    proof = {**naked, "client_secret": registration.secret}
    codes = (await client.http.post(url, data=proof)).json()
    assert_refused(await polled(client, registration.client_id, codes["device_code"]), "invalid_client", 401)


async def test_a_client_cannot_use_a_flow_that_it_did_not_register_for(client: OAuthClient) -> None:
    registration = await client.register()
    answer = await client.http.post(
        f"{client.issuer}/device_authorization", data={"client_id": registration.client_id}
    )
    assert_refused(answer, "unauthorized_client")
    url = client.authorize_url(await registered(client), Pkce.fresh().challenge)
    location = (await client.http.get(url)).headers["Location"]
    assert location.startswith(REDIRECT_URI)
    assert "error=unauthorized_client" in location


@pytest.mark.requirement("rfc8628:once")
@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"scope": "mcp.unknown"}, "invalid_scope"),
        ({"scope": 'a"b'}, "invalid_scope"),
        ({"resource": "https://elsewhere.example"}, "invalid_target"),
        ({"scope": ["mcp.time", "mcp.notes"]}, "invalid_request"),
    ],
)
async def test_an_invalid_device_authorization_request_is_refused(
    client: OAuthClient, form: dict[str, str | list[str]], error: str
) -> None:
    client_id = await registered(client)
    answer = await client.http.post(f"{client.issuer}/device_authorization", data={"client_id": client_id, **form})
    assert_refused(answer, error)


@pytest.mark.requirement("rfc8628:brute-force")
async def test_a_browser_may_try_ten_codes_and_then_even_a_right_one_is_refused(
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


async def _tried(client: OAuthClient, code: str, address: str) -> int:
    """The status that a browser without a cookie gets, from that address."""
    client.http.cookies.clear()
    client.http.headers["X-Portcullis-Address"] = address
    return (await typed(client, code)).status_code


@pytest.mark.requirement("rfc8628:brute-force")
async def test_further_attempts_of_all_addresses_share_one_limit(web: WebServer, client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    for _ in range(FIRST_ATTEMPTS_OF_AN_ADDRESS):
        assert await _tried(client, "BCDF-GHJK", "203.0.113.1") == 400
    with web.redis.client() as redis:
        redis.set("device-attempts", FURTHER_ATTEMPTS_OF_ALL - 1, ex=60)
    for status in (400, 429):
        assert await _tried(client, "BCDF-GHJK", "203.0.113.1") == status
    assert await _tried(client, codes["user_code"], "203.0.113.1") == 429
    with web.redis.client() as redis:
        assert 0 < redis.ttl("device-attempts") <= 60


async def test_guessing_addresses_do_not_block_the_first_attempts_of_others(
    web: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    with web.redis.client() as redis:  # as after four addresses, or four thousand, that went on guessing
        redis.set("device-attempts", FURTHER_ATTEMPTS_OF_ALL, ex=60)
    for _ in range(FIRST_ATTEMPTS_OF_AN_ADDRESS - 1):
        assert await _tried(client, "BCDF-GHJK", "198.51.100.1") == 400
    assert await _tried(client, codes["user_code"], "198.51.100.1") == 200


@pytest.mark.requirement("rfc8628:brute-force")
async def test_the_first_attempts_of_all_addresses_have_a_limit_too(web: WebServer, client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    with web.redis.client() as redis:
        redis.set("device-first-attempts", FIRST_ATTEMPTS_OF_ALL - 1, ex=60)
    assert await _tried(client, "BCDF-GHJK", "203.0.113.1") == 400
    assert await _tried(client, codes["user_code"], "203.0.113.2") == 429


async def test_another_page_cannot_submit_the_code_form(client: OAuthClient) -> None:
    codes = await started(client, await registered(client))
    answer = await client.http.post(
        f"{client.issuer}/device",
        data={"user_code": codes["user_code"]},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 400
    assert "Television" not in answer.text


async def test_consent_in_another_browser_is_refused_and_consumes_nothing(
    web: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    page = await typed(client, codes["user_code"])
    form = {"handle": form_value(page.text, "handle"), "decision": "allow"}
    async with OAuthClient(web.issuer) as stranger:
        assert (await stranger.http.post(f"{web.issuer}/authorize/consent", data=form)).status_code == 400
    assert (await client.http.post(f"{web.issuer}/authorize/consent", data=form)).status_code == 303


async def test_the_callback_from_github_in_another_browser_connects_nothing(
    web: WebServer, client: OAuthClient
) -> None:
    """Otherwise an attacker could have a victim's browser finish the attacker's sign-in, or the
    other way round.
    """
    client_id = await registered(client)
    codes = await started(client, client_id)
    callback = await at_callback(client, codes["user_code"])
    async with OAuthClient(web.issuer) as stranger:
        assert (await stranger.http.get(callback)).status_code == 400
    assert_refused(await polled(client, client_id, codes["device_code"]), "authorization_pending")


async def test_a_client_deleted_meanwhile_gets_nothing(client: OAuthClient) -> None:
    registration = await client.register(grant_types=[DEVICE_CODE])
    codes = await started(client, registration.client_id)
    url = f"{client.issuer}/register/{registration.client_id}"
    assert (await client.http.delete(url, headers=registration.management)).status_code == 204
    assert (await typed(client, codes["user_code"])).status_code == 400
    assert_refused(await polled(client, registration.client_id, codes["device_code"]), "invalid_client", 401)


async def test_codes_are_not_readable_in_redis_or_in_the_log(web: WebServer, client: OAuthClient) -> None:
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


async def test_an_unknown_device_code_is_an_invalid_grant(client: OAuthClient) -> None:
    client_id = await registered(client)
    for made_up in ("x", "\u00e9" * 40, "*", str(time.time())):
        assert_refused(await polled(client, client_id, made_up), "invalid_grant")
    assert_refused(await client.token({"grant_type": DEVICE_CODE, "client_id": client_id}), "invalid_request")
