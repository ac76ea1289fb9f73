"""Discovery documents: RFC 8414, RFC 9728, and the keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.oauth_client import OAuthClient
    from tests.support.web_process import WebServer


@pytest.mark.requirement(
    "mcp:as-metadata",
    "mcp:iss-advertised",
    "mcp:pkce-advertised",
    "rfc7636:no-plain",
    "rfc8414:location",
    "rfc8414:json",
    "rfc9207:advertised",
)
@pytest.mark.parametrize("path", ["oauth-authorization-server", "openid-configuration"])
async def test_the_metadata_has_the_exact_issuer_and_requires_s256(
    web: WebServer, client: OAuthClient, path: str
) -> None:
    answer = await client.http.get(f"{web.issuer}/.well-known/{path}")
    document = answer.json()
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "application/json")
    assert document["issuer"] == web.issuer
    assert document["code_challenge_methods_supported"] == ["S256"]
    assert document["authorization_response_iss_parameter_supported"] is True
    assert "none" in document["token_endpoint_auth_methods_supported"]
    assert "offline_access" not in document["scopes_supported"]
    assert document["protected_resources"] == [web.resource, web.other_resource]


async def test_the_openid_document_has_every_member_that_the_specification_requires(
    web: WebServer, client: OAuthClient
) -> None:
    """OpenID Connect Discovery 1.0, section 3. The official TypeScript SDK rejects a document without one."""
    document = (await client.http.get(f"{web.issuer}/.well-known/openid-configuration")).json()
    texts = {"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri"}
    lists = {"response_types_supported", "subject_types_supported", "id_token_signing_alg_values_supported"}
    assert all(isinstance(document[name], str) for name in texts)
    assert all(document[name] and all(isinstance(item, str) for item in document[name]) for name in lists)
    assert document["subject_types_supported"] == ["public"]
    assert "RS256" in document["id_token_signing_alg_values_supported"]
    other = (await client.http.get(f"{web.issuer}/.well-known/oauth-authorization-server")).json()
    assert document.items() >= other.items()


@pytest.mark.requirement("mcp:resource-metadata", "mcp:resource-metadata-as", "rfc9728:location", "rfc9728:json")
async def test_each_service_has_metadata_at_its_own_path(web: WebServer, client: OAuthClient) -> None:
    document = (await client.http.get(f"{web.issuer}/.well-known/oauth-protected-resource/time/mcp")).json()
    assert document["resource"] == web.resource
    assert document["authorization_servers"] == [web.issuer]
    assert document["scopes_supported"] == ["mcp.time"]


@pytest.mark.parametrize("path", ["", "/nothing/here", "/time", "/time/mcp//", "/TIME/mcp"])
async def test_other_paths_have_no_resource_metadata(web: WebServer, client: OAuthClient, path: str) -> None:
    answer = await client.http.get(f"{web.issuer}/.well-known/oauth-protected-resource{path}")
    assert answer.status_code == 404


async def test_a_foreign_host_gets_no_resource_metadata(web: WebServer, client: OAuthClient) -> None:
    answer = await client.http.get(
        f"{web.issuer}/.well-known/oauth-protected-resource/time/mcp", headers={"Host": "evil.example"}
    )
    assert answer.status_code == 404


@pytest.mark.requirement("complaints:ai-gateway-2690", "rfc8414:host")
async def test_the_host_header_does_not_change_urls(web: WebServer, client: OAuthClient) -> None:
    headers = {"Host": "evil.example", "X-Forwarded-Host": "evil.example", "Forwarded": "host=evil.example"}
    answer = await client.http.get(f"{web.issuer}/.well-known/oauth-authorization-server", headers=headers)
    assert "evil.example" not in answer.text
    assert answer.json()["issuer"] == web.issuer


async def test_published_keys_have_no_private_members(web: WebServer, client: OAuthClient) -> None:
    document = (await client.http.get(f"{web.issuer}/.well-known/jwks.json")).json()
    assert len(document["keys"]) == 1
    assert set(document["keys"][0]) == {"kty", "crv", "x", "y", "kid", "alg", "use"}
