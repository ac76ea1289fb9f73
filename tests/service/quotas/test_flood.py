"""Attackers write as much as they can at every endpoint; other clients still sign in and refresh.

Redis has a `maxmemory`, and the quotas are small so that few requests fill them. The attack's addresses are in
the header that Envoy sets.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from oauth_core.limits.quotas import Stored
from tests.support.assertions import as_form, jwks, key, signed
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce
from tests.support.publisher import Publisher, running_publisher
from tests.support.web_process import WebServer, another_web, running_web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Door = Callable[[OAuthClient, dict[str, str], int], Awaitable[httpx2.Response]]

MEGABYTE = 1_048_576
ROOM = 24 * MEGABYTE
"""Memory of Redis beyond what it needs when it is empty. The quotas are a third of it."""
QUOTAS = {
    "REGISTRATIONS_MEGABYTES": "1",
    "CLIENT_DOCUMENTS_MEGABYTES": "1",
    "SIGN_INS_MEGABYTES": "3",
    "DEVICE_CODES_MEGABYTES": "1",
    "ASSERTIONS_MEGABYTES": "1",
}
AT_ONCE = 16
CHALLENGE = Pkce.fresh().challenge
_ADDRESSES = count(1)


def address() -> dict[str, str]:
    """Headers of a caller at an address that no other caller has used."""
    number = next(_ADDRESSES)
    return {"X-Portcullis-Address": f"203.0.{number // 256}.{number % 256}"}


@pytest.fixture(scope="module")
def publisher() -> Iterator[Publisher]:
    with running_publisher() as publisher:
        yield publisher


@pytest.fixture(scope="module")
def flooded(publisher: Publisher) -> Iterator[WebServer]:
    """A server whose Redis may grow by `ROOM`."""
    settings = {
        **QUOTAS,
        "CLIENT_DOCUMENTS_CA_FILE": str(publisher.ca_file),
        "ALLOW_LOOPBACK_CLIENT_DOCUMENTS": "true",
    }
    with running_web(settings) as server:
        with server.redis.client() as redis:
            redis.config_set("maxmemory", int(redis.info("memory")["used_memory"]) + ROOM)
            redis.config_set("maxmemory-policy", "noeviction")
        yield server


@pytest.fixture
async def client(flooded: WebServer) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(flooded.issuer) as client:
        client.http.headers.update(address())
        yield client


async def register(client: OAuthClient, headers: dict[str, str], number: int) -> httpx2.Response:
    uris = [f"https://attack.example/{number}/{'x' * 1600}/{one}" for one in range(2)]
    return await client.http.post(
        f"{client.issuer}/register",
        json={"redirect_uris": uris, "token_endpoint_auth_method": "none"},
        headers=headers,
    )


def flood_of_sign_ins(client_id: str) -> Door:
    async def ask(client: OAuthClient, headers: dict[str, str], number: int) -> httpx2.Response:
        url = client.authorize_url(client_id, CHALLENGE, state=f"{number}{'s' * 4000}")
        return await client.http.get(url, headers=headers)

    return ask


def flood_of_device_codes(client_id: str) -> Door:
    async def start(client: OAuthClient, headers: dict[str, str], _: int) -> httpx2.Response:
        form = {"client_id": client_id}
        return await client.http.post(f"{client.issuer}/device_authorization", data=form, headers=headers)

    return start


def flood_of_documents(publisher: Publisher) -> Door:
    async def invent(client: OAuthClient, headers: dict[str, str], number: int) -> httpx2.Response:
        client_id = publisher.client(f"/made-up/{number}", client_uri=f"https://x.example/{'x' * 450}")
        form = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": "x"}
        return await client.http.post(f"{client.issuer}/token", data=form, headers=headers)

    return invent


def flood_of_assertions(client_id: str) -> Door:
    async def sign(client: OAuthClient, headers: dict[str, str], number: int) -> httpx2.Response:
        assertion = signed(client_id, client.issuer, jti=str(number))
        form = {"grant_type": "refresh_token", "refresh_token": "x", **as_form(assertion)}
        return await client.http.post(f"{client.issuer}/token", data=form, headers=headers)

    return sign


async def flood(client: OAuthClient, door: Door, *, addresses: int, most: int = 3000) -> dict[str, set[int]]:
    """Send requests from `addresses` addresses until each is refused.

    Return the statuses of the answers, by address.
    """
    numbers, seen = count(1), {}
    attacker = OAuthClient(client.issuer)
    # A connection that the server closes because it is idle must not end the flood.
    attacker.http = httpx2.AsyncClient(timeout=60.0, limits=httpx2.Limits(max_keepalive_connections=0))
    hostile = [address() for _ in range(addresses)]
    for headers in hostile:
        statuses: set[int] = set()
        for _ in range(most // AT_ONCE):
            answers = await asyncio.gather(*(door(attacker, headers, next(numbers)) for _ in range(AT_ONCE)))
            for answer in answers:
                statuses.add(answer.status_code)
                if answer.status_code in {429, 503}:
                    assert int(answer.headers["Retry-After"]) >= 1, answer.text
            if statuses & {429, 503}:
                break
        seen[headers["X-Portcullis-Address"]] = statuses
    await attacker.http.aclose()
    return seen


def used(server: WebServer) -> float:
    """The part of `maxmemory` in use."""
    with server.redis.client() as redis:
        about: dict[str, Any] = redis.info("memory")
        return float(about["used_memory"]) / float(about["maxmemory"])


async def test_no_flood_at_any_endpoint_prevents_others_from_registering_signing_in_and_refreshing(
    flooded: WebServer, publisher: Publisher, client: OAuthClient
) -> None:
    before = (await client.register()).client_id
    tokens = await client.tokens(before)
    device = await client.register(grant_types=["urn:ietf:params:oauth:grant-type:device_code"])
    signer = await client.register(token_endpoint_auth_method="private_key_jwt", jwks=jwks(key()))
    doors = {
        "register": register,
        "authorize": flood_of_sign_ins(before),
        "device": flood_of_device_codes(device.client_id),
        "token": flood_of_documents(publisher),
        "assertion": flood_of_assertions(signer.client_id),
    }
    for name, door in doors.items():
        seen = await flood(client, door, addresses=12)
        assert all(429 in statuses for statuses in seen.values()), (name, seen)
        assert not any(500 in statuses for statuses in seen.values()), (name, seen)
    assert used(flooded) < 0.75
    async with OAuthClient(flooded.issuer) as newcomer:
        newcomer.http.headers.update(address())
        made = (await newcomer.register()).client_id
        fresh = await newcomer.tokens(made)
        assert (await newcomer.refresh(made, fresh["refresh_token"])).status_code == 200
        document = publisher.client("/honest/app.json")
        fresh = await newcomer.tokens(document)
        assert (await newcomer.refresh(document, fresh["refresh_token"])).status_code == 200
        started = await flood_of_device_codes(device.client_id)(newcomer, {}, 0)
        assert started.status_code == 200
    assert (await client.refresh(before, tokens["refresh_token"])).status_code == 200


async def test_with_registration_by_invitation_the_other_endpoints_are_limited_as_well(
    flooded: WebServer, publisher: Publisher, client: OAuthClient
) -> None:
    with another_web(flooded, {"CLIENT_REGISTRATION": "token"}) as address_of_other:
        async with OAuthClient(address_of_other) as other:
            assert (await register(other, {}, 0)).status_code == 401
            document = publisher.client("/attack/app.json")
            for door in (flood_of_documents(publisher), flood_of_sign_ins(document)):
                (statuses,) = (await flood(other, door, addresses=1)).values()
                assert statuses & {429, 503}
                assert 500 not in statuses


@pytest.mark.parametrize(
    ("free", "registers", "signs_in"),
    [(1 / 6, 503, 200), (1 / 20, 503, 503)],
    ids=["less-than-the-reserve", "less-than-half-of-it"],
)
async def test_in_a_nearly_full_redis_registration_is_refused_first_then_sign_ins_and_refreshes_never(
    flooded: WebServer, client: OAuthClient, free: float, registers: int, signs_in: int
) -> None:
    made = (await client.register()).client_id
    tokens = await client.tokens(made)
    with flooded.redis.client() as redis:
        about: dict[str, Any] = redis.info("memory")
        redis.delete(*redis.keys("stored:*"))  # so that no quota is the reason
        redis.config_set("maxmemory", int(about["used_memory"] / (1 - free)))
        try:
            # A process that starts now reads the present memory usage of Redis. Others do so within a second.
            with another_web(flooded, {}) as other:
                registered = await client.http.post(f"{other}/register", json={"redirect_uris": [REDIRECT_URI]})
                url = client.authorize_url(made, CHALLENGE).replace(client.issuer, other)
                page = await client.http.get(url)
                form = {"grant_type": "refresh_token", "client_id": made, "refresh_token": tokens["refresh_token"]}
                refreshed = await client.http.post(f"{other}/token", data=form)
        finally:
            redis.config_set("maxmemory", about["maxmemory"])
    assert (registered.status_code, page.status_code) == (registers, signs_in)
    assert registered.json()["error"] == "temporarily_unavailable"
    for refused in (one for one in (registered, page) if one.status_code == 503):
        assert int(refused.headers["Retry-After"]) >= 1
    assert refreshed.status_code == 200, refreshed.text


def test_a_registration_with_many_long_redirect_uris_is_refused(flooded: WebServer) -> None:
    """Twenty redirect URIs of 2 KB each: a record of 49 KB with a lifetime of 90 days."""

    async def attempt() -> httpx2.Response:
        async with OAuthClient(flooded.issuer) as client:
            client.http.headers.update(address())
            uris = [f"{REDIRECT_URI}/{one}/{'x' * 1900}" for one in range(20)]
            return await client.http.post(f"{client.issuer}/register", json={"redirect_uris": uris})

    answer = asyncio.run(attempt())
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")
    assert set(Stored) == {name.removesuffix("_MEGABYTES").lower() for name in QUOTAS}
