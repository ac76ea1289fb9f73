"""Revocation and introspection of tokens by clients: RFC 7009 and RFC 7662."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.service.oauth_web.issued_tokens import alive
from tests.support.oauth_client import OAuthClient, Pkce, Registration

if TYPE_CHECKING:
    from tests.support.web_process import WebServer


async def confidential(client: OAuthClient) -> tuple[Registration, dict[str, str], dict[str, Any]]:
    """A confidential client, its credentials, and its tokens."""
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    proof = {"client_id": registration.client_id, "client_secret": registration.secret}
    pkce = Pkce.fresh()
    code = await client.code(registration.client_id, pkce)
    tokens = (
        await client.redeem(registration.client_id, code, pkce.verifier, client_secret=registration.secret)
    ).json()
    return registration, proof, tokens


async def introspect(client: OAuthClient, proof: dict[str, str], token: str) -> dict[str, Any]:
    answer = await client.http.post(f"{client.issuer}/introspect", data={**proof, "token": token})
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


@pytest.mark.requirement("rfc7009:refresh", "rfc7009:cascade")
async def test_revoking_a_refresh_token_ends_the_whole_grant(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    form = {"client_id": registration.client_id, "token": tokens["refresh_token"]}
    answer = await client.http.post(f"{client.issuer}/revoke", data=form)
    assert (answer.status_code, answer.content) == (200, b"")
    assert not alive(web, tokens["access_token"])
    assert (await client.refresh(registration.client_id, tokens["refresh_token"])).status_code == 400


@pytest.mark.requirement("rfc7009:access", "rfc7009:hint")
async def test_revoking_an_access_token_keeps_the_grant(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register()
    tokens = await client.tokens(registration.client_id)
    form = {"client_id": registration.client_id, "token": tokens["access_token"], "token_type_hint": "nonsense"}
    assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    assert not alive(web, tokens["access_token"])
    assert (await client.refresh(registration.client_id, tokens["refresh_token"])).status_code == 200


@pytest.mark.requirement("rfc7009:owner", "rfc7009:unknown-200")
async def test_a_client_cannot_revoke_the_tokens_of_another(web: WebServer, client: OAuthClient) -> None:
    owner, stranger = await client.register(), await client.register()
    tokens = await client.tokens(owner.client_id)
    grant, family, _ = tokens["refresh_token"].split(".")
    for token in (tokens["access_token"], tokens["refresh_token"]):
        form = {"client_id": stranger.client_id, "token": token}
        # The answer is the same as for an unknown token: a prober learns nothing.
        assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    for guess in (f"{grant}.{family}.{'x' * 43}", f"{grant}.{'y' * 22}.{'x' * 43}", "garbage", "a.b.c"):
        form = {"client_id": owner.client_id, "token": guess}
        assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    assert alive(web, tokens["access_token"])
    assert (await client.refresh(owner.client_id, tokens["refresh_token"])).status_code == 200


@pytest.mark.requirement("rfc7009:authenticate", "rfc7662:authorize")
@pytest.mark.parametrize("endpoint", ["revoke", "introspect"])
async def test_a_confidential_client_must_authenticate(client: OAuthClient, endpoint: str) -> None:
    registration, _, tokens = await confidential(client)
    for wrong in ({}, {"client_secret": "wrong"}):
        form = {"client_id": registration.client_id, "token": tokens["access_token"], **wrong}
        answer = await client.http.post(f"{client.issuer}/{endpoint}", data=form)
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")


@pytest.mark.requirement("rfc7662:active", "rfc7662:inactive-bare", "rfc7662:checks")
async def test_an_active_token_is_described_and_a_revoked_one_is_only_inactive(client: OAuthClient) -> None:
    _, proof, tokens = await confidential(client)
    document = await introspect(client, proof, tokens["access_token"])
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    assert document == {**claims, "active": True, "token_type": "Bearer", "username": "octocat"}
    refresh = await introspect(client, proof, tokens["refresh_token"])
    assert refresh["active"] is True
    await client.http.post(f"{client.issuer}/revoke", data={**proof, "token": tokens["refresh_token"]})
    for token in (tokens["access_token"], tokens["refresh_token"], "garbage"):
        assert await introspect(client, proof, token) == {"active": False}


@pytest.mark.requirement("rfc7662:inactive-bare")
async def test_another_clients_token_is_only_inactive(client: OAuthClient) -> None:
    _, _, tokens = await confidential(client)
    _, stranger, _ = await confidential(client)
    assert await introspect(client, stranger, tokens["access_token"]) == {"active": False}
    assert await introspect(client, stranger, tokens["refresh_token"]) == {"active": False}


@pytest.mark.parametrize("steps", [1, 2])
async def test_a_used_refresh_token_is_not_active_and_still_revokes_its_grant(
    web: WebServer, client: OAuthClient, steps: int
) -> None:
    registration, proof, spent = await confidential(client)
    me, secret = registration.client_id, registration.secret
    current = spent
    for _ in range(steps):
        current = (await client.refresh(me, current["refresh_token"], client_secret=secret)).json()
    assert await introspect(client, proof, spent["refresh_token"]) == {"active": False}
    assert (await introspect(client, proof, current["refresh_token"]))["active"] is True
    form = {**proof, "token": spent["refresh_token"]}
    assert (await client.http.post(f"{client.issuer}/revoke", data=form)).status_code == 200
    assert not alive(web, current["access_token"])
    assert await introspect(client, proof, current["refresh_token"]) == {"active": False}


@pytest.mark.requirement("rfc7662:authorize")
async def test_a_public_client_cannot_introspect(client: OAuthClient) -> None:
    registration = await client.register()
    form = {"client_id": registration.client_id, "token": "x"}
    assert (await client.http.post(f"{client.issuer}/introspect", data=form)).status_code == 401


@pytest.mark.requirement("rfc7662:post")
@pytest.mark.parametrize("endpoint", ["revoke", "introspect"])
async def test_a_request_without_a_token_is_an_invalid_request(client: OAuthClient, endpoint: str) -> None:
    _, proof, _ = await confidential(client)
    answer = await client.http.post(f"{client.issuer}/{endpoint}", data=proof)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
