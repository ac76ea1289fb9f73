"""A real event stream through Envoy ends with its token, and soon after its token was revoked."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from oauth_core.store import keyspace
from oauth_core.tokens import access_tokens
from tests.support.gateway import WHOAMI_ALONE, RunningGateway, running_gateway
from tests.support.mcp_clients import MCP_HEADERS, bearer, claims_of, probe
from tests.support.tokens import claims
from tests.system.realms.credentials import signing_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.oauth_client import OAuthClient

STREAM_SECONDS = 20
SHORT_LIFE = 8
_PATIENCE = 60.0
CUT_OFF = (httpx2.RemoteProtocolError, httpx2.ReadError)


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A gateway where a stream lasts for twenty seconds, although its token is valid for half an hour."""
    with running_gateway(config=WHOAMI_ALONE, environ={"STREAM_SECONDS": str(STREAM_SECONDS)}) as gateway:
        yield gateway


async def _short_token(gateway: RunningGateway, long: str) -> str:
    """A token of the same person as `long`, with a short lifetime."""
    resource, key = gateway.resource("whoami"), await signing_key(gateway)
    now = int(time.time())
    person = str(claims_of(long)["sub"])
    like: dict[str, Any] = {"iss": gateway.url, "aud": (resource,), "scope": "mcp.whoami"}
    like |= {"sub": person, "github_id": int(person), "jti": "short-lived-token-0000"}
    token = access_tokens.mint(claims(**like, iat=now, exp=now + SHORT_LIFE), key)
    with gateway.operator_redis() as redis:
        redis.set(keyspace.token("short-lived-token-0000"), "a-grant", ex=600)
    return token


async def _session(http: httpx2.AsyncClient, resource: str, token: str) -> dict[str, str]:
    opened = await probe(http, resource, token)
    assert opened.status_code == 200, opened.text
    session = {
        **bearer(token),
        "Mcp-Session-Id": opened.headers["Mcp-Session-Id"],
        "Mcp-Protocol-Version": "2025-06-18",
    }
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await http.post(resource, json=initialized, headers={**MCP_HEADERS, **session})).status_code == 202
    return session


async def test_streams_end_with_their_token_and_soon_after_it_is_revoked(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    registration = await oauth.register()
    long = (await oauth.tokens(registration.client_id, resource=resource))["access_token"]
    lasting, passing = await _session(http, resource, long), await _session(http, resource, long)
    # Made last, so that it is active when its stream opens.
    passing.update(bearer(await _short_token(gateway, long)))
    accept = {"Accept": "text/event-stream"}
    async with (
        http.stream("GET", resource, headers=accept | lasting) as first,
        http.stream("GET", resource, headers=accept | passing) as second,
    ):
        assert (first.status_code, second.status_code) == (200, 200)
        first_ends, second_ends = asyncio.create_task(first.aread()), asyncio.create_task(second.aread())
        mine = {"token": long, "client_id": registration.client_id}
        assert (await http.post(f"{gateway.url}/revoke", data=mine)).status_code == 200
        # A new stream is refused; an open one ends when it would have to be checked again.
        assert (await http.get(resource, headers=accept | lasting)).status_code == 401
        done, _ = await asyncio.wait({first_ends, second_ends}, timeout=_PATIENCE, return_when="FIRST_COMPLETED")
        assert done == {second_ends}, "the one whose token expired, long before any stream has to end"
        assert isinstance(second_ends.exception(), CUT_OFF)
        assert (await http.get(resource, headers=accept | passing)).status_code == 401
        await asyncio.wait({first_ends}, timeout=_PATIENCE)
        assert first_ends.done()
        assert isinstance(first_ends.exception(), CUT_OFF)
        assert (await http.get(resource, headers=accept | lasting)).status_code == 401


async def test_a_subscription_that_is_opened_by_post_ends_like_a_stream(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    token = (await oauth.tokens((await oauth.register()).client_id, resource=resource))["access_token"]
    version = "2026-07-28"
    listen = {
        "jsonrpc": "2.0",
        "id": 7,
        "method": "subscriptions/listen",
        "params": {
            "notifications": {"toolsListChanged": True},
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": version,
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    }
    headers = {
        **MCP_HEADERS,
        **bearer(token),
        "Mcp-Protocol-Version": version,
        "Mcp-Method": "subscriptions/listen",
    }
    async with http.stream("POST", resource, json=listen, headers=headers) as stream:
        assert stream.status_code == 200, await stream.aread()
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        async with asyncio.timeout(_PATIENCE):
            with pytest.raises(CUT_OFF):
                await stream.aread()
