"""Refused requests, and their answers: status and challenge, through Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.mcp_clients import MCP_HEADERS, bearer, challenge, probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient

_MAX_BODY = 4 * 1024 * 1024
_MAX_FORM = 64 * 1024
ORIGIN = "http://localhost:6274"


@pytest.fixture
async def token(gateway: RunningGateway, oauth: OAuthClient) -> str:
    """A valid token for `/time/mcp`."""
    return await _token(gateway, oauth, resource=gateway.resource("time"))


async def _token(gateway: RunningGateway, oauth: OAuthClient, **parameters: str | list[str]) -> str:
    registration = await oauth.register()
    return str((await oauth.tokens(registration.client_id, **parameters))["access_token"])


@pytest.mark.requirement("mcp:challenge-on-401", "mcp:metadata-discovery")
async def test_without_a_token_the_challenge_leads_to_the_authorization_server(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    refused = await probe(http, gateway.resource("time"))
    assert refused.status_code == 401
    assert challenge(refused) == {
        "resource_metadata": f"{gateway.url}/.well-known/oauth-protected-resource/time/mcp",
        "scope": "mcp.time",
    }
    metadata = (await http.get(challenge(refused)["resource_metadata"])).json()
    assert metadata["resource"] == gateway.resource("time")
    assert metadata["authorization_servers"] == [gateway.url]
    assert metadata["scopes_supported"] == ["mcp.time"]


@pytest.mark.requirement("mcp:audience", "rfc9728:audience")
async def test_a_token_for_one_service_is_refused_at_another(
    gateway: RunningGateway, http: httpx2.AsyncClient, token: str
) -> None:
    assert (await probe(http, gateway.resource("time"), token)).status_code == 200
    refused = await probe(http, gateway.resource("whoami"), token)
    assert refused.status_code == 401
    assert challenge(refused)["error"] == "invalid_token"
    assert challenge(refused)["scope"] == "mcp.whoami"


@pytest.mark.requirement("mcp:insufficient-scope")
async def test_a_token_without_the_scope_gets_a_challenge_that_names_it(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    both = [gateway.resource("time"), gateway.resource("whoami")]
    token = await _token(gateway, oauth, resource=both, scope="mcp.whoami")
    refused = await probe(http, gateway.resource("time"), token)
    assert refused.status_code == 403
    told = challenge(refused)
    assert told["error"] == "insufficient_scope"
    assert told["scope"] == "mcp.time"
    assert told["resource_metadata"] == f"{gateway.url}/.well-known/oauth-protected-resource/time/mcp"


@pytest.mark.requirement("mcp:invalid-is-401")
async def test_a_forged_or_malformed_token_gets_the_same_401_as_an_expired_one(
    gateway: RunningGateway, http: httpx2.AsyncClient, token: str
) -> None:
    header, payload, signature = token.split(".")
    for wrong in ("garbage", f"{header}.{payload}.", f"{header}.{payload}.{signature[::-1]}", f"{token}, {token}"):
        refused = await probe(http, gateway.resource("time"), wrong)
        assert refused.status_code == 401, wrong
        assert challenge(refused)["error"] == "invalid_token"


async def test_two_authorization_headers_are_refused(
    gateway: RunningGateway, http: httpx2.AsyncClient, token: str
) -> None:
    """The service might read the other one of the two."""
    twice = [("Authorization", f"Bearer {token}"), ("Authorization", "Bearer other"), *MCP_HEADERS.items()]
    refused = await http.post(gateway.resource("time"), content=b"{}", headers=twice)
    assert refused.status_code == 401


async def test_another_host_name_is_refused_even_with_a_valid_token(
    gateway: RunningGateway, http: httpx2.AsyncClient, token: str
) -> None:
    for host in ("evil.example", "localhost", "127.0.0.1"):
        refused = await probe(http, gateway.resource("time"), token, {"Host": host})
        assert refused.status_code == 421, host
        error = refused.json()["error"]
        assert (refused.json()["id"], error["code"]) == (None, 421)
        assert error["message"].endswith(gateway.resource("time")), (
            "the message has the right address of the service"
        )
        page = await http.get(gateway.url, headers={"Host": host})
        assert page.status_code == 421
        assert page.json()["error_description"].endswith(gateway.url)


@pytest.mark.requirement("mcp:origin-403")
async def test_a_page_of_another_origin_is_refused_even_with_a_valid_token(
    gateway: RunningGateway, http: httpx2.AsyncClient, token: str
) -> None:
    refused = await probe(http, gateway.resource("time"), token, {"Origin": "https://evil.example"})
    assert refused.status_code == 403
    assert "Access-Control-Allow-Origin" not in refused.headers


@pytest.mark.requirement("complaints:ai-gateway-2307")
async def test_a_preflight_passes_without_a_token(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    asked = "authorization,content-type,mcp-protocol-version,mcp-session-id,mcp-method,mcp-name,last-event-id"
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": asked,
    }
    for url in (gateway.resource("time"), f"{gateway.url}/register", f"{gateway.url}/token"):
        answer = await http.options(url, headers=headers)
        assert answer.status_code in {200, 204}, url
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        allowed = {name.strip().lower() for name in answer.headers["Access-Control-Allow-Headers"].split(",")}
        assert set(asked.split(",")) <= allowed


async def test_a_page_of_an_allowed_origin_can_read_the_challenge(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    refused = await probe(http, gateway.resource("time"), None, {"Origin": ORIGIN})
    assert refused.status_code == 401
    assert refused.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "www-authenticate" in refused.headers["Access-Control-Expose-Headers"].lower()


async def test_a_body_over_the_limit_is_413(gateway: RunningGateway, http: httpx2.AsyncClient, token: str) -> None:
    body = b" " * (_MAX_BODY + 1)
    refused = await http.post(gateway.resource("time"), content=body, headers={**MCP_HEADERS, **bearer(token)})
    assert refused.status_code == 413


async def test_a_chunked_body_over_the_limit_is_413(
    gateway: RunningGateway, http: httpx2.AsyncClient, token: str
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(_MAX_BODY // 65536 + 1):
            yield b" " * 65536

    refused = await http.post(gateway.resource("time"), content=chunks(), headers={**MCP_HEADERS, **bearer(token)})
    assert refused.status_code == 413


async def test_an_oversized_registration_is_413(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    body = b" " * (_MAX_FORM + 1)
    refused = await http.post(f"{gateway.url}/register", content=body, headers=MCP_HEADERS)
    assert refused.status_code == 413
