"""The requirements of specifications for every answer: status, type, caching, and the lifetime of values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.crypto.credentials import hash_secret
from oauth_core.store import keyspace
from tests.support.oauth_client import Pkce

if TYPE_CHECKING:
    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer

CHALLENGE = Pkce.fresh().challenge


@pytest.mark.requirement("rfc7591:ignore-unknown", "rfc7591:created")
async def test_a_registration_is_201_with_json_that_is_not_cached(client: OAuthClient) -> None:
    answer = await client.http.post(
        f"{client.issuer}/register", json={"redirect_uris": ["http://127.0.0.1/answers"], "unheard_of": {"x": 1}}
    )
    assert answer.status_code == 201
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "unheard_of" not in answer.json()


@pytest.mark.requirement("rfc7591:jwks-either")
async def test_a_registration_with_both_jwks_and_jwks_uri_is_refused(client: OAuthClient) -> None:
    document = {
        "redirect_uris": ["http://127.0.0.1/answers"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": {"keys": []},
        "jwks_uri": "https://client.example/jwks.json",
    }
    answer = await client.http.post(f"{client.issuer}/register", json=document)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_client_metadata")


@pytest.mark.requirement("oauth21:no-store")
async def test_a_token_response_is_json_that_is_not_cached(client: OAuthClient) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    answer = await client.redeem(client_id, await client.code(client_id, pkce), pkce.verifier)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.requirement("oauth21:code-expires")
async def test_a_code_is_valid_for_a_minute_at_most(web: WebServer, client: OAuthClient) -> None:
    client_id, pkce = (await client.register()).client_id, Pkce.fresh()
    code = await client.code(client_id, pkce)
    with web.redis.client() as redis:
        assert 0 < redis.ttl(keyspace.code(hash_secret(code))) <= 60
        assert redis.delete(keyspace.code(hash_secret(code))) == 1, "as the end of the minute does"
    refused = await client.redeem(client_id, code, pkce.verifier)
    assert (refused.status_code, refused.json()["error"]) == (400, "invalid_grant")


@pytest.mark.requirement("oauth21:see-other")
@pytest.mark.parametrize("decision", ["allow", "deny"])
async def test_a_form_is_answered_with_303(client: OAuthClient, decision: str) -> None:
    """After a 307 the browser would send the form again, to the next address."""
    url = client.authorize_url((await client.register()).client_id, CHALLENGE)
    assert (await client.consent(url, decision)).status_code == 303


@pytest.mark.requirement("oauth21:token-post", "rfc7662:post")
@pytest.mark.parametrize("endpoint", ["token", "revoke", "introspect", "register"])
async def test_endpoints_that_change_or_return_secrets_refuse_get(client: OAuthClient, endpoint: str) -> None:
    answer = await client.http.get(f"{client.issuer}/{endpoint}?token=x&client_id=x")
    assert answer.status_code == 405
    assert "POST" in answer.headers["Allow"]


@pytest.mark.requirement("rfc7591:unique-secret")
async def test_two_clients_of_one_kind_have_different_identifiers_and_secrets(client: OAuthClient) -> None:
    one, other = [await client.register(token_endpoint_auth_method="client_secret_basic") for _ in range(2)]
    assert one.client_id != other.client_id
    assert one.secret != other.secret
