"""Registering the same again: one record, which nobody can turn against the others who rely on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.credentials import new_identifier
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce, Registration

if TYPE_CHECKING:
    from tests.support.web_process import WebServer


def public() -> dict[str, Any]:
    """What a public client says of itself, like no other test."""
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


@pytest.mark.requirement("complaints:mcphub-1174")
async def test_the_same_again_is_the_same_client_and_works(web: WebServer, client: OAuthClient) -> None:
    document = public()
    first = await registered(client, document)
    with web.redis.client() as redis:
        before = len(redis.keys("client:*"))
    later = await asyncio.gather(*(registered(client, document) for _ in range(10)))
    assert {made["client_id"] for made in later} == {first["client_id"]}
    with web.redis.client() as redis:
        assert len(redis.keys("client:*")) == before
    tokens = await client.tokens(first["client_id"])
    assert (await client.refresh(first["client_id"], tokens["refresh_token"])).status_code == 200


async def test_unknown_members_and_their_order_make_no_difference(client: OAuthClient) -> None:
    document = public()
    first = await registered(client, document)
    reordered = {"unknown": 1, **dict(reversed(document.items())), "scope": ""}
    assert (await registered(client, reordered))["client_id"] == first["client_id"]


async def test_a_port_that_the_system_chose_makes_no_difference_and_each_is_sent_to_its_own(
    client: OAuthClient,
) -> None:
    """FastMCP listens on another port each time and registers again; any port of loopback is right (RFC 8252)."""
    document = public()
    made = []
    for port in (40001, 40002, 40003):
        uri = f"http://localhost:{port}/callback"
        made.append(await registered(client, {**document, "redirect_uris": [uri]}))
        assert made[-1]["redirect_uris"] == [uri]
    (client_id,) = {one["client_id"] for one in made}
    pkce = Pkce.fresh()
    uri = "http://localhost:40003/callback"
    code = (await client.authorize(client.authorize_url(client_id, pkce.challenge, redirect_uri=uri)))["code"]
    form = {"grant_type": "authorization_code", "code": code, "client_id": client_id}
    proof = {"code_verifier": pkce.verifier, "redirect_uri": uri}
    other = await client.token({**form, **proof, "redirect_uri": "http://localhost:40001/callback"})
    assert other.json()["error"] == "invalid_grant"
    assert (await client.token({**form, **proof})).status_code == 200
    # Left out, it would be the port of whoever came first.
    silent = await client.http.get(client.authorize_url(client_id, pkce.challenge, redirect_uri=None))
    assert silent.status_code == 400
    assert not silent.has_redirect_location


@pytest.mark.requirement("rfc7591:id-unique")
@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uris": [REDIRECT_URI, "https://evil.example/cb"]},
        {"redirect_uris": ["https://evil.example/cb"]},
        {"client_uri": "https://other.example"},
        {"scope": "mcp.time"},
        {"software_id": "other"},
    ],
)
async def test_any_difference_is_another_client(client: OAuthClient, change: dict[str, Any]) -> None:
    document = public()
    first = await registered(client, document)
    assert (await registered(client, {**document, **change}))["client_id"] != first["client_id"]


@pytest.mark.requirement("complaints:mcphub-1174")
async def test_a_program_that_names_no_method_shares_as_well(web: WebServer, client: OAuthClient) -> None:
    """As the Python SDK registers, with another port each time."""
    name = new_identifier()
    said = [
        {
            "client_name": name,
            "redirect_uris": [f"http://127.0.0.1:{port}/callback"],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
        }
        for port in (40001, 40002, 40003)
    ]
    first = await registered(client, said[0])
    with web.redis.client() as redis:
        before = len(redis.keys("client:*"))
        later = [await registered(client, document) for document in said]
        assert len(redis.keys("client:*")) == before
    assert {made["client_id"] for made in later} == {first["client_id"]}
    # Whoever names the method means it, and shares with nobody.
    named = await registered(client, {**said[0], "token_endpoint_auth_method": "client_secret_basic"})
    assert named["client_id"] != first["client_id"]
    assert named["client_secret"]


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
async def test_confidential_clients_share_nothing(client: OAuthClient, method: str) -> None:
    document = {**public(), "token_endpoint_auth_method": method}
    one, other = await registered(client, document), await registered(client, document)
    assert one["client_id"] != other["client_id"]
    assert one["client_secret"] != other["client_secret"]
    assert one["registration_access_token"] != other["registration_access_token"]


async def test_a_stranger_who_says_the_same_can_manage_nothing(client: OAuthClient) -> None:
    document = public()
    first = await registered(client, document)
    stranger = await registered(client, document)
    assert not {"registration_access_token", "registration_client_uri", "client_secret"} & stranger.keys()
    assert stranger["client_id"] == first["client_id"]


async def test_whoever_came_first_cannot_send_the_others_elsewhere(client: OAuthClient) -> None:
    """The attack: register what a popular client says, wait for its users, then change the redirect URI."""
    document = public()
    attacker = await registered(client, document)
    victim = await registered(client, document)
    management = Registration(attacker).management
    evil = {**document, "client_id": attacker["client_id"], "redirect_uris": ["https://evil.example/cb"]}
    url = attacker["registration_client_uri"]
    changed = await client.http.put(url, json=evil, headers=management)
    assert (changed.status_code, changed.json()["error"]) == (403, "insufficient_scope")
    assert (await client.http.delete(url, headers=management)).status_code == 403
    assert (await client.http.get(url, headers=management)).json()["redirect_uris"] == [REDIRECT_URI]
    await client.tokens(victim["client_id"])


async def test_nor_can_it_change_first_and_be_shared_afterwards(client: OAuthClient) -> None:
    document = public()
    attacker = await registered(client, document)
    management = Registration(attacker).management
    same = {**document, "client_id": attacker["client_id"]}
    for change in ({}, {"redirect_uris": ["https://evil.example/cb"]}, {}):
        url = attacker["registration_client_uri"]
        answer = await client.http.put(url, json={**same, **change}, headers=management)
        assert answer.status_code == 200, answer.text
    victim = await registered(client, document)
    assert victim["client_id"] != attacker["client_id"]
    assert (await registered(client, document))["client_id"] == victim["client_id"]


async def test_who_manages_a_registration_keeps_it(client: OAuthClient) -> None:
    document = public()
    owner = await registered(client, document)
    url, management = owner["registration_client_uri"], Registration(owner).management
    assert (await client.http.get(url, headers=management)).status_code == 200
    assert (await registered(client, document))["client_id"] != owner["client_id"]
    assert (await client.http.delete(url, headers=management)).status_code == 204


async def test_of_sharing_and_changing_at_once_only_one_happens(client: OAuthClient) -> None:
    for _ in range(8):
        document = public()
        attacker = await registered(client, document)
        evil = {**document, "client_id": attacker["client_id"], "redirect_uris": ["https://evil.example/cb"]}
        management = Registration(attacker).management
        put = client.http.put(attacker["registration_client_uri"], json=evil, headers=management)
        answer, *others = await asyncio.gather(put, *(registered(client, document) for _ in range(3)))
        if attacker["client_id"] in {made["client_id"] for made in others}:
            assert answer.status_code in {403, 503}
        kept = await client.http.get(attacker["registration_client_uri"], headers=management)
        changed = kept.json()["redirect_uris"] != [REDIRECT_URI]
        assert changed is (answer.status_code == 200)


async def test_a_record_that_is_gone_is_made_anew(web: WebServer, client: OAuthClient) -> None:
    document = public()
    first = await registered(client, document)
    with web.redis.client() as redis:
        redis.delete(f"client:{first['client_id']}")
    second = await registered(client, document)
    assert second["client_id"] != first["client_id"]
    assert "registration_access_token" in second
