"""Sessions of the older protocol: their event streams and their end pass through Envoy unchanged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.support.mcp_clients import MCP_HEADERS, bearer, probe

if TYPE_CHECKING:
    import httpx2

    from tests.support.gateway import RunningGateway
    from tests.support.oauth_client import OAuthClient


async def test_a_legacy_client_opens_an_event_stream_that_ends_with_its_session(
    gateway: RunningGateway, oauth: OAuthClient, http: httpx2.AsyncClient
) -> None:
    resource = gateway.resource("whoami")
    registration = await oauth.register()
    token = (await oauth.tokens(registration.client_id, resource=resource))["access_token"]
    opened = await probe(http, resource, token)
    assert opened.headers["Content-Type"].startswith("text/event-stream"), "the answer itself is a stream"
    session = {
        **bearer(token),
        "Mcp-Session-Id": opened.headers["Mcp-Session-Id"],
        "Mcp-Protocol-Version": "2025-06-18",
    }
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert (await http.post(resource, json=initialized, headers={**MCP_HEADERS, **session})).status_code == 202

    # The headers arrive while the stream stays open: no program on the way waits for its end.
    async with http.stream("GET", resource, headers={"Accept": "text/event-stream", **session}) as stream:
        assert stream.status_code == 200
        assert stream.headers["Content-Type"].startswith("text/event-stream")
        rest = asyncio.create_task(stream.aread())
        assert (await http.post(resource, json=_WHOAMI, headers={**MCP_HEADERS, **session})).status_code == 200
        assert not rest.done()
        assert (await http.delete(resource, headers=session)).status_code in {200, 204}
        await asyncio.wait_for(rest, 60)

    gone = await http.post(resource, json=_WHOAMI, headers={**MCP_HEADERS, **session})
    assert gone.status_code == 404, "the service's own answer: the session has ended"


@pytest.mark.requirement("mcp:header-token")
async def test_an_event_stream_needs_a_token(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    answer = await http.get(gateway.resource("whoami"), headers={"Accept": "text/event-stream"})
    assert answer.status_code == 401


_WHOAMI = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}}
