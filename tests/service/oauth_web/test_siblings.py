"""Public clients that register the same metadata: each has its own record, and can continue a sibling's grants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.crypto.credentials import new_identifier
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, Registration

if TYPE_CHECKING:
    from tests.support.web_process import WebServer

DAY = 86_400
YEAR = 31_536_000


def public() -> dict[str, Any]:
    """The metadata of a public client, different from that of any other test."""
    return {
        "client_name": new_identifier(),
        "redirect_uris": [REDIRECT_URI],
        "token_endpoint_auth_method": "none",
    }


async def registered(client: OAuthClient, document: dict[str, Any]) -> dict[str, Any]:
    answer = await client.http.post(f"{client.issuer}/register", json=document)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def life(web: WebServer, client_id: str) -> int:
    with web.redis.client() as redis:
        return int(redis.ttl(f"client:{client_id}"))


@pytest.mark.requirement("rfc7591:id-unique")
async def test_every_registration_has_a_record_and_a_management_token_of_its_own(client: OAuthClient) -> None:
    document = public()
    made = [await registered(client, document) for _ in range(3)]
    for member in ("client_id", "registration_access_token", "registration_client_uri"):
        assert len({one[member] for one in made}) == 3


async def test_a_second_registration_of_the_same_metadata_cannot_change_the_first(
    client: OAuthClient,
) -> None:
    document = public()
    first, stranger = await registered(client, document), await registered(client, document)
    url, management = first["registration_client_uri"], Registration(first).management
    foreign = Registration(stranger).management
    for method in ("GET", "PUT", "DELETE"):
        body = {**document, "client_id": first["client_id"]}
        refused = await client.http.request(method, url, headers=foreign, json=body)
        assert refused.status_code == 401
    changed = {**document, "client_id": first["client_id"], "client_uri": "https://mine.example"}
    put = await client.http.put(url, json=changed, headers=management)
    assert (put.status_code, put.json()["client_uri"]) == (200, "https://mine.example")
    # The other record has not changed with it.
    shown = await client.http.get(stranger["registration_client_uri"], headers=foreign)
    assert "client_uri" not in shown.json()
    assert (await client.http.delete(url, headers=management)).status_code == 204
    assert (await client.http.get(stranger["registration_client_uri"], headers=foreign)).status_code == 200


@pytest.mark.requirement("complaints:mcphub-1174")
async def test_a_client_that_registers_at_each_start_continues_with_its_refresh_token(
    web: WebServer, client: OAuthClient
) -> None:
    document = public()
    first = await registered(client, document)
    token = (await client.tokens(first["client_id"]))["refresh_token"]
    starts = []
    for port in (40001, 40002, 40003):
        starts.append(
            await registered(client, {**document, "redirect_uris": [f"http://127.0.0.1:{port}/callback"]})
        )
        again = await client.refresh(starts[-1]["client_id"], token)
        assert again.status_code == 200, again.text
        token = again.json()["refresh_token"]
    # The record in use is kept as long as the grant. Those before it end after a day, so that records do not
    # pile up.
    assert life(web, starts[-1]["client_id"]) > YEAR - DAY
    assert [life(web, one["client_id"]) <= DAY for one in starts] == [True, True, False]
    assert life(web, first["client_id"]) > YEAR - DAY


async def test_a_client_with_another_grant_of_its_sibling_is_kept_when_one_is_taken_over(
    web: WebServer, client: OAuthClient
) -> None:
    document = public()
    owner, user, heir = [(await registered(client, document))["client_id"] for _ in range(3)]
    tokens = [(await client.tokens(owner))["refresh_token"] for _ in range(2)]
    one, other = [(await client.refresh(user, token)).json()["refresh_token"] for token in tokens]
    one = (await client.refresh(heir, one)).json()["refresh_token"]
    assert life(web, user) > YEAR - DAY
    other = (await client.refresh(heir, other)).json()["refresh_token"]
    assert life(web, user) <= DAY
    for token in (one, other):
        assert life(web, heir) > YEAR - DAY
        await client.http.post(f"{client.issuer}/revoke", data={"client_id": heir, "token": token})
    assert life(web, heir) <= DAY


async def test_a_code_can_be_redeemed_by_a_client_that_registered_again_meanwhile(client: OAuthClient) -> None:
    document, pkce = public(), Pkce.fresh()
    first = await registered(client, document)
    code = await client.code(first["client_id"], pkce)
    second = await registered(client, document)
    answer = await client.redeem(second["client_id"], code, pkce.verifier)
    assert answer.status_code == 200, answer.text
    assert (await client.refresh(first["client_id"], answer.json()["refresh_token"])).status_code == 200


async def test_a_sibling_can_revoke_a_refresh_token(client: OAuthClient) -> None:
    document = public()
    first, second = await registered(client, document), await registered(client, document)
    token = (await client.tokens(first["client_id"]))["refresh_token"]
    form = {"client_id": second["client_id"], "token": token}
    assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    assert (await client.refresh(first["client_id"], token)).json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    "change",
    [
        {"client_name": "Another"},
        {"redirect_uris": [REDIRECT_URI, "https://evil.example/cb"]},
        {"redirect_uris": ["https://evil.example/cb"]},
        {"client_uri": "https://other.example"},
        {"scope": "mcp.time"},
        {"software_id": "other"},
        {"dpop_bound_access_tokens": True},
        {"token_endpoint_auth_method": "client_secret_post"},
    ],
)
async def test_a_client_with_any_difference_in_its_metadata_is_no_sibling(
    client: OAuthClient, change: dict[str, Any]
) -> None:
    document, pkce = public(), Pkce.fresh()
    first, other = await registered(client, document), await registered(client, {**document, **change})
    code = await client.code(first["client_id"], pkce)
    secret = {"client_secret": other["client_secret"]} if "client_secret" in other else {}
    refused = await client.redeem(other["client_id"], code, pkce.verifier, **secret)
    assert refused.status_code == 400, refused.text
    answer = await client.redeem(first["client_id"], code, pkce.verifier)
    token = answer.json()["refresh_token"]
    refused = await client.refresh(other["client_id"], token, **secret)
    assert refused.status_code == 400, refused.text
    await client.http.post(
        f"{client.issuer}/revoke", data={"client_id": other["client_id"], "token": token, **secret}
    )
    assert (await client.refresh(first["client_id"], token)).status_code == 200


async def test_confidential_clients_are_no_siblings(client: OAuthClient) -> None:
    document = {**public(), "token_endpoint_auth_method": "client_secret_post"}
    first, other = await registered(client, document), await registered(client, document)
    pkce = Pkce.fresh()
    code = await client.code(first["client_id"], pkce)
    refused = await client.redeem(other["client_id"], code, pkce.verifier, client_secret=other["client_secret"])
    assert refused.json()["error"] == "invalid_grant"


async def test_a_client_that_changes_its_metadata_is_no_longer_a_sibling(client: OAuthClient) -> None:
    document = public()
    first, second = await registered(client, document), await registered(client, document)
    token = (await client.tokens(first["client_id"]))["refresh_token"]
    changed = {**document, "client_id": second["client_id"], "redirect_uris": ["https://evil.example/cb"]}
    put = await client.http.put(
        second["registration_client_uri"], json=changed, headers=Registration(second).management
    )
    assert put.status_code == 200
    assert (await client.refresh(second["client_id"], token)).json()["error"] == "invalid_grant"
    assert (await client.refresh(first["client_id"], token)).status_code == 200


async def test_deleting_one_sibling_ends_its_own_grants_and_no_others(client: OAuthClient) -> None:
    document = public()
    first, second = await registered(client, document), await registered(client, document)
    of_first = (await client.tokens(first["client_id"]))["refresh_token"]
    of_second = (await client.tokens(second["client_id"]))["refresh_token"]
    of_first = (await client.refresh(second["client_id"], of_first)).json()["refresh_token"]
    deleted = await client.http.delete(second["registration_client_uri"], headers=Registration(second).management)
    assert deleted.status_code == 204
    assert (await client.refresh(first["client_id"], of_second)).json()["error"] == "invalid_grant"
    assert (await client.refresh(first["client_id"], of_first)).status_code == 200


async def test_a_stolen_refresh_token_ends_with_its_client_even_after_a_refresh_by_a_sibling(
    client: OAuthClient,
) -> None:
    """A thief registers the same metadata and refreshes with it. Deleting the client still ends that token."""
    document = public()
    owner, thief = await registered(client, document), await registered(client, document)
    stolen = (await client.tokens(owner["client_id"]))["refresh_token"]
    stolen = (await client.refresh(thief["client_id"], stolen)).json()["refresh_token"]
    await client.http.delete(owner["registration_client_uri"], headers=Registration(owner).management)
    for client_id in (thief["client_id"], (await registered(client, document))["client_id"]):
        assert (await client.refresh(client_id, stolen)).json()["error"] == "invalid_grant"


async def test_an_unused_registration_ends_after_an_hour_despite_requests_of_others(
    web: WebServer, client: OAuthClient
) -> None:
    made = await registered(client, public())
    management = Registration(made).management
    with web.redis.client() as redis:
        assert 3500 < redis.ttl(f"client:{made['client_id']}") <= 3600
        redis.expire(f"client:{made['client_id']}", 100)
    await client.http.get(client.authorize_url(made["client_id"], Pkce.fresh().challenge))
    await client.refresh(made["client_id"], "no token")
    await client.http.get(made["registration_client_uri"], headers=management)
    await client.at_callback(client.authorize_url(made["client_id"], Pkce.fresh().challenge))
    assert life(web, made["client_id"]) <= 100


async def test_a_registration_is_kept_as_long_as_its_longest_grant_and_a_day_after_the_last(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await registered(client, public()))["client_id"]
    await client.code(client_id, Pkce.fresh())
    assert 3600 < life(web, client_id) <= DAY
    tokens = [(await client.tokens(client_id))["refresh_token"] for _ in range(2)]
    lives = []
    for token in tokens:
        lives.append(life(web, client_id))
        await client.http.post(f"{client.issuer}/revoke", data={"client_id": client_id, "token": token})
    assert all(YEAR < one <= YEAR + DAY for one in lives)
    assert 3600 < life(web, client_id) <= DAY


async def test_a_grant_that_begins_while_another_ends_keeps_its_client(
    web: WebServer, client: OAuthClient
) -> None:
    client_id = (await registered(client, public()))["client_id"]
    token = (await client.tokens(client_id))["refresh_token"]
    for _ in range(8):
        pkce = Pkce.fresh()
        code = await client.code(client_id, pkce)
        form = {"client_id": client_id, "token": token}
        answer, _ = await asyncio.gather(
            client.redeem(client_id, code, pkce.verifier),
            client.http.post(f"{client.issuer}/revoke", data=form),
        )
        token = answer.json()["refresh_token"]
        assert life(web, client_id) > YEAR
