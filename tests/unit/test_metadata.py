"""The discovery documents."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest

from oauth_core.clients.client_metadata import AUTH_METHODS
from oauth_core.flows.discovery_documents import authorization_server, protected_resource
from oauth_web.grants.catalog import GRANT_TYPES
from tests.unit.examples import BARE, ISSUER, NOTES, TIME

OFFERED = [each for each in GRANT_TYPES if each.setting is None]
SERVER = authorization_server(ISSUER, (TIME, NOTES, BARE), grant_types=OFFERED)


@pytest.mark.requirement("mcp:metadata-issuer", "rfc8414:issuer-identical")
def test_the_issuer_is_exactly_the_one_in_the_settings() -> None:
    assert SERVER["issuer"] == ISSUER
    assert protected_resource(TIME, ISSUER)["authorization_servers"] == [ISSUER]


@pytest.mark.requirement("rfc7009:https", "rfc7591:https", "rfc7662:tls", "rfc8414:response-types")
def test_every_endpoint_is_at_the_issuer() -> None:
    endpoints = {name: value for name, value in SERVER.items() if name.endswith(("_endpoint", "_uri"))}
    assert set(endpoints) == {
        "authorization_endpoint",
        "token_endpoint",
        "registration_endpoint",
        "revocation_endpoint",
        "introspection_endpoint",
        "device_authorization_endpoint",
        "jwks_uri",
    }
    assert {f"{url.scheme}://{url.netloc}" for url in map(urlsplit, map(str, endpoints.values()))} == {ISSUER}


@pytest.mark.requirement("rfc8414:response-types")
def test_only_supported_features_are_advertised() -> None:
    assert SERVER["code_challenge_methods_supported"] == ["S256"]
    assert SERVER["response_types_supported"] == ["code"]
    assert SERVER["response_modes_supported"] == ["query"]
    assert SERVER["grant_types_supported"] == [
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "client_credentials",
    ]
    assert SERVER["token_endpoint_auth_methods_supported"] == list(AUTH_METHODS)
    assert SERVER["authorization_response_iss_parameter_supported"] is True
    assert SERVER["client_id_metadata_document_supported"] is True


@pytest.mark.requirement("mcp:offline-access")
def test_the_scopes_are_those_of_the_services_without_offline_access() -> None:
    assert SERVER["scopes_supported"] == ["mcp.bare", "mcp.notes", "mcp.time"]


@pytest.mark.requirement("rfc9728:resource", "rfc9728:scopes", "rfc9728:identical")
def test_a_resource_has_the_name_of_its_tokens_and_the_least_scope() -> None:
    document = protected_resource(TIME, ISSUER)
    assert document["resource"] == TIME.resource
    assert document["scopes_supported"] == ["mcp.time"]
    assert document["bearer_methods_supported"] == ["header"]


@pytest.mark.requirement("rfc8414:no-empty", "rfc9728:no-empty")
def test_no_document_has_an_unset_member() -> None:
    for document in (SERVER, protected_resource(BARE, ISSUER)):
        assert "null" not in json.dumps(document)
        assert all(document.values())
