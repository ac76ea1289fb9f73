"""Tokens that are bound to a key from the first to the last (RFC 9449 sections 5, 6 and 10)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import jwt
import pytest

from tests.support.assertions import key, proof, public, thumbprint
from tests.support.oauth_client import REDIRECT_URI, OAuthClient, Pkce

if TYPE_CHECKING:
    import httpx2

    from tests.support.web_process import WebServer

OWN, OTHER = key(name="dpop"), key(name="other")


def signed(client: OAuthClient, **more: Any) -> dict[str, str]:
    """The header with a proof for the token endpoint."""
    return {"DPoP": proof("POST", f"{client.issuer}/token", **more)}


async def redeemed(client: OAuthClient, client_id: str, headers: dict[str, str], **form: str) -> httpx2.Response:
    """A fresh code redeemed with these headers."""
    pkce = Pkce.fresh()
    code = await client.code(client_id, pkce)
    given = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    return await client.token({**given, "client_id": client_id, "redirect_uri": REDIRECT_URI, **form}, headers)


def binding(token: str) -> Any:
    return jwt.decode(token, options={"verify_signature": False}).get("cnf")


async def refreshed(
    client: OAuthClient, client_id: str, token: str, headers: dict[str, str], **form: str
) -> httpx2.Response:
    given = {"grant_type": "refresh_token", "client_id": client_id, "refresh_token": token}
    return await client.token({**given, **form}, headers)


@pytest.mark.requirement("rfc9449:token", "rfc9449:refresh-public")
async def test_a_public_clients_tokens_stay_bound_to_its_first_key(client: OAuthClient) -> None:
    client_id = (await client.register()).client_id
    tokens = (await redeemed(client, client_id, signed(client))).json()
    assert tokens["token_type"] == "DPoP"
    assert binding(tokens["access_token"]) == {"jkt": thumbprint(OWN)}
    token = tokens["refresh_token"]
    refused = await refreshed(client, client_id, token, {})
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof")
    refused = await refreshed(client, client_id, token, signed(client, by=OTHER))
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    again = await refreshed(client, client_id, token, signed(client))
    assert again.status_code == 200, "neither refusal consumed it or ended its family"
    assert (again.json()["token_type"], binding(again.json()["access_token"])) == (
        "DPoP",
        {"jkt": thumbprint(OWN)},
    )


@pytest.mark.requirement("rfc9449:refresh-confidential")
async def test_a_confidential_client_may_change_its_key_but_must_send_a_proof(client: OAuthClient) -> None:
    registration = await client.register(token_endpoint_auth_method="client_secret_post")
    secret = {"client_secret": registration.secret}
    tokens = (await redeemed(client, registration.client_id, signed(client), **secret)).json()
    refused = await refreshed(client, registration.client_id, tokens["refresh_token"], {}, **secret)
    assert refused.json()["error"] == "invalid_dpop_proof"
    other = signed(client, by=OTHER)
    fresh = (await refreshed(client, registration.client_id, tokens["refresh_token"], other, **secret)).json()
    assert binding(fresh["access_token"]) == {"jkt": thumbprint(OTHER)}
    asked = {"client_id": registration.client_id, **secret}
    said = (
        await client.http.post(f"{client.issuer}/introspect", data={**asked, "token": fresh["access_token"]})
    ).json()
    assert (said["token_type"], said["cnf"]) == ("DPoP", {"jkt": thumbprint(OTHER)})


@pytest.mark.requirement("rfc9449:check", "rfc9449:place")
async def test_an_invalid_proof_is_refused_and_does_not_consume_the_code(client: OAuthClient) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    code = await client.code(client_id, pkce)
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    form |= {"client_id": client_id, "redirect_uri": REDIRECT_URI}
    place = f"{client.issuer}/token"
    for wrong in (
        "garbage", "", proof("GET", place), proof("POST", f"{client.issuer}/revoke"), proof("POST", place, iat=1),
        proof("POST", "https://evil.example/token"), proof("POST", place, headers={"jwk": public(OTHER)}),
        f"{proof('POST', place)}, {proof('POST', place)}",
    ):  # fmt: skip
        refused = await client.token(form, {"DPoP": wrong})
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_dpop_proof"), wrong
        assert "access_token" not in refused.json()
    two = await client.http.post(
        place, data=form, headers=[("DPoP", proof("POST", place)), ("DPoP", proof("POST", place))]
    )
    assert two.json()["error"] == "invalid_dpop_proof"
    assert (await client.token(form, signed(client))).status_code == 200


@pytest.mark.requirement("rfc9449:replay")
async def test_of_many_requests_with_one_proof_only_one_succeeds(client: OAuthClient) -> None:
    client_id = (await client.register()).client_id
    tokens = (await redeemed(client, client_id, signed(client))).json()
    headers = signed(client)
    answers = await asyncio.gather(
        *(refreshed(client, client_id, tokens["refresh_token"], headers) for _ in range(10))
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [400] * 9
    assert {answer.json()["error"] for answer in answers if answer.status_code == 400} == {"invalid_dpop_proof"}


@pytest.mark.requirement("rfc9449:code")
async def test_a_code_can_be_bound_to_a_key(client: OAuthClient) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    code = await client.code(client_id, pkce, dpop_jkt=thumbprint(OWN))
    form = {"grant_type": "authorization_code", "code": code, "code_verifier": pkce.verifier}
    form |= {"client_id": client_id, "redirect_uri": REDIRECT_URI}
    for headers in ({}, signed(client, by=OTHER)):
        refused = await client.token(form, headers)
        assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")
    assert (await client.token(form, signed(client))).status_code == 200
    bad = await client.http.get(client.authorize_url(client_id, pkce.challenge, dpop_jkt="short"))
    assert "error=invalid_request" in bad.headers["Location"]


@pytest.mark.requirement("rfc9449:metadata")
@pytest.mark.requirement("sep-1932:registered")
async def test_a_client_that_registers_for_dpop_must_send_a_proof(web: WebServer, client: OAuthClient) -> None:
    registration = await client.register(dpop_bound_access_tokens=True)
    assert registration.document["dpop_bound_access_tokens"] is True
    refused = await redeemed(client, registration.client_id, {})
    assert refused.json()["error"] == "invalid_dpop_proof"
    assert (await redeemed(client, registration.client_id, signed(client))).status_code == 200
    for place in ("oauth-authorization-server", "oauth-protected-resource/time/mcp"):
        document = (await client.http.get(f"{web.issuer}/.well-known/{place}")).json()
        assert "ES256" in document["dpop_signing_alg_values_supported"]


async def test_a_client_without_a_proof_gets_an_unbound_token(client: OAuthClient) -> None:
    client_id = (await client.register()).client_id
    tokens = (await redeemed(client, client_id, {})).json()
    assert (tokens["token_type"], binding(tokens["access_token"])) == ("Bearer", None)
    # A key that is sent later binds the access token; the refresh token stays unbound.
    bound = (await refreshed(client, client_id, tokens["refresh_token"], signed(client))).json()
    assert binding(bound["access_token"]) == {"jkt": thumbprint(OWN)}
    free = (await refreshed(client, client_id, bound["refresh_token"], {})).json()
    assert binding(free["access_token"]) is None
