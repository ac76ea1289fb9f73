"""Rate limits: callers beyond the limit are refused with the time to wait, and no other caller is."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from tests.support.device_flow import registered, started, typed
from tests.support.oauth_client import OAuthClient
from tests.support.web_process import another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    import httpx2

    from tests.support.web_process import WebServer

HERE, ELSEWHERE = {"X-Portcullis-Address": "203.0.113.1"}, {"X-Portcullis-Address": "203.0.113.2"}
FEW = {
    "REGISTRATIONS_PER_ADDRESS": "5",
    "AUTHORIZATIONS_PER_ADDRESS": "3",
    "FAILURES_PER_ADDRESS": "3",
    "REQUESTS_PER_CLIENT": "4",
    "SIGN_INS_PER_USER": "2",
    "TOKENS_PER_GRANT": "2",
    "USER_CODES_PER_ADDRESS": "3",
}


@pytest.fixture(scope="module")
def strict() -> Iterator[WebServer]:
    """A server with low limits."""
    with running_web(FEW) as server:
        yield server


@pytest.fixture
async def client(strict: WebServer) -> AsyncIterator[OAuthClient]:
    """A client at an address that has made no request yet."""
    with strict.redis.client() as redis:
        for key in redis.scan_iter("rate:*"):
            redis.delete(key)
    async with OAuthClient(strict.issuer) as client:
        client.http.headers.update(HERE)
        yield client


def assert_held_back(answer: httpx2.Response) -> None:
    assert answer.status_code == 429, answer.text
    assert 1 <= int(answer.headers["Retry-After"]) <= 600
    assert answer.headers["Cache-Control"] == "no-store"


async def held_back(ask: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
    """The refusal of a caller that has used up its limit.

    On a slow machine part of the limit is restored meanwhile.
    """
    answer = await ask()
    for _ in range(2):
        if answer.status_code != 429:
            answer = await ask()
    assert_held_back(answer)
    return answer


async def test_the_registrations_of_an_address_are_limited_and_another_address_is_not_affected(
    strict: WebServer, client: OAuthClient
) -> None:
    for number in range(5):
        await client.register(client_name=f"Client {number}")
    refused = await held_back(lambda: client.http.post(f"{strict.issuer}/register", json={}))
    assert refused.json()["error"] == "too_many_requests"
    elsewhere = await client.http.post(f"{strict.issuer}/register", json={}, headers=ELSEWHERE)
    assert elsewhere.status_code == 400, "the request is processed and found invalid"
    assert '"rate.limited"' in strict.log.read_text(encoding="utf-8")


async def test_one_network_of_ipv6_is_one_address(strict: WebServer, client: OAuthClient) -> None:
    for host in range(5):
        client.http.headers["X-Portcullis-Address"] = f"2001:db8::{host + 1:x}"
        await client.register(client_name=f"Client {host}")
    client.http.headers["X-Portcullis-Address"] = "2001:db8:0:0:ffff::1"
    await held_back(lambda: client.http.post(f"{strict.issuer}/register", json={}))
    client.http.headers["X-Portcullis-Address"] = "2001:db8:0:1::1"
    assert (await client.http.post(f"{strict.issuer}/register", json={})).status_code == 400


@pytest.mark.parametrize("address", ["203.0.113.1:51234", "[2001:db8::7]:443"])
async def test_a_different_port_does_not_make_another_caller(
    strict: WebServer, client: OAuthClient, address: str
) -> None:
    for number in range(5):
        client.http.headers["X-Portcullis-Address"] = f"{address[:-1]}{number}"
        await client.register(client_name=f"Client {number}")
    client.http.headers["X-Portcullis-Address"] = address
    await held_back(lambda: client.http.post(f"{strict.issuer}/register", json={}))


async def test_requests_without_an_address_are_reported_as_errors_and_counted_for_their_peer(
    strict: WebServer, client: OAuthClient
) -> None:
    del client.http.headers["X-Portcullis-Address"]
    said = "all callers are counted as one address"
    health = f"{strict.issuer}/healthz"
    assert (await client.http.get(health)).json()["counted_address"] is None
    assert (await client.http.get(health, headers=HERE)).json()["counted_address"] == "203.0.113.1"
    assert said not in strict.log.read_text(encoding="utf-8"), "probes are not callers"
    for number in range(5):
        await client.register(client_name=f"Client {number}")
    twice = [("X-Portcullis-Address", "203.0.113.8"), ("X-Portcullis-Address", "203.0.113.9")]
    await held_back(lambda: client.http.post(f"{strict.issuer}/register", json={}, headers=twice))
    (line,) = [line for line in strict.log.read_text(encoding="utf-8").splitlines() if said in line]
    assert json.loads(line)["level"] == "error", "once a minute, not for each request"


async def test_replicas_share_the_counts(strict: WebServer, client: OAuthClient) -> None:
    with another_web(strict, {}) as second:
        for number in range(5):
            url = (strict.issuer, second)[number % 2]
            assert (await client.http.post(f"{url}/register", json={})).status_code == 400
        for url in (strict.issuer, second):
            await held_back(partial(client.http.post, f"{url}/register", json={}))


async def test_of_concurrent_requests_no_more_pass_than_of_sequential_ones(
    strict: WebServer, client: OAuthClient
) -> None:
    began = time.monotonic()
    answers = await asyncio.gather(*(client.http.post(f"{strict.issuer}/register", json={}) for _ in range(25)))
    passed = [answer for answer in answers if answer.status_code == 400]
    # One more becomes free every twelve seconds; the machine may be that slow.
    seconds = time.monotonic() - began
    assert 5 <= len(passed) <= 6 + seconds / 12
    assert {answer.status_code for answer in answers} == {400, 429}


async def test_the_sign_ins_of_an_address_are_limited_and_the_refusal_is_a_page(client: OAuthClient) -> None:
    url = client.authorize_url("unknown", "x" * 43)
    for _ in range(3):
        assert (await client.http.get(url)).status_code == 400
    refused = await held_back(lambda: client.http.get(url))
    assert refused.headers["Content-Type"].startswith("text/html")


async def test_wrong_client_secrets_of_an_address_are_limited_and_the_client_itself_is_not(
    strict: WebServer, client: OAuthClient
) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    form = {"client_id": registration.client_id, "client_secret": "wrong", "token": "x"}
    url = f"{strict.issuer}/revoke"
    for _ in range(3):
        assert (await client.http.post(url, data=form)).status_code == 401
    await held_back(lambda: client.http.post(url, data=form))
    right = {**form, "client_secret": registration.secret}
    await held_back(lambda: client.http.post(url, data=right))  # otherwise the answer would confirm a guess
    assert (await client.http.post(url, data=right, headers=ELSEWHERE)).status_code == 200
    other = await client.http.post(url, data={**form, "client_id": "another"})
    assert other.status_code == 401, "another client at that address is not limited"


async def test_an_authenticated_client_is_counted_across_all_addresses(
    strict: WebServer, client: OAuthClient
) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    form = {"client_id": registration.client_id, "client_secret": registration.secret, "token": "x"}
    for number in range(4):
        headers = {"X-Portcullis-Address": f"198.51.100.{number}"}
        assert (await client.http.post(f"{strict.issuer}/revoke", data=form, headers=headers)).status_code == 200
    await held_back(lambda: client.http.post(f"{strict.issuer}/revoke", data=form, headers=ELSEWHERE))


async def test_another_address_cannot_use_up_the_limit_of_a_public_client(
    strict: WebServer, client: OAuthClient
) -> None:
    form = {"client_id": await registered(client), "token": "x"}
    for _ in range(4):
        assert (await client.http.post(f"{strict.issuer}/revoke", data=form)).status_code == 200
    await held_back(lambda: client.http.post(f"{strict.issuer}/revoke", data=form))
    elsewhere = await client.http.post(f"{strict.issuer}/revoke", data=form, headers=ELSEWHERE)
    assert elsewhere.status_code == 200


async def test_the_refreshes_of_a_grant_are_limited(client: OAuthClient) -> None:
    registration = await client.register()
    token = (await client.tokens(registration.client_id))["refresh_token"]
    for _ in range(2):
        answer = await client.refresh(registration.client_id, token)
        assert answer.status_code == 200, answer.text
        token = answer.json()["refresh_token"]
    client.http.headers.update(ELSEWHERE)
    await held_back(lambda: client.refresh(registration.client_id, token))


async def test_the_sign_ins_of_a_person_are_limited_across_all_addresses(client: OAuthClient) -> None:
    registration = await client.register()
    for address in ("192.0.2.1", "192.0.2.2"):
        client.http.headers["X-Portcullis-Address"] = address
        await client.tokens(registration.client_id)
    client.http.headers["X-Portcullis-Address"] = "192.0.2.3"
    url = client.authorize_url(registration.client_id, "x" * 43)

    async def signs_in() -> httpx2.Response:
        return await client.http.get(await client.at_callback(url))

    await held_back(signs_in)


async def test_one_address_cannot_use_up_the_user_code_attempts_of_others(
    strict: WebServer, client: OAuthClient
) -> None:
    codes = await started(client, await registered(client))
    for status in (400, 400, 400, 429, 429):
        client.http.cookies.clear()
        assert (await typed(client, "BCDF-GHJK")).status_code == status
    with strict.redis.client() as redis:
        assert int(redis.get("device-first-attempts") or 0) == 3
        assert redis.get("device-attempts") is None
    async with OAuthClient(strict.issuer) as person:
        person.http.headers.update(ELSEWHERE)
        assert (await typed(person, codes["user_code"])).status_code == 200


async def test_the_stored_counts_expire_and_contain_no_address(strict: WebServer, client: OAuthClient) -> None:
    await client.register()
    with strict.redis.client() as redis:
        keys = list(redis.scan_iter("rate:*"))
        assert keys
        for key in keys:
            assert 0 < redis.pttl(key) <= 600_000
            assert b"203.0.113.1" not in (key if isinstance(key, bytes) else key.encode())
