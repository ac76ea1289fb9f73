"""The official Python SDK's client, unmodified, through Envoy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.mcp_clients import McpUser, whoami

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway

pytestmark = pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])

FORGED = {
    "X-User-Id": "1",
    "x-user-name": "root",
    "X-CLIENT-ID": "forged-client",
    "x-token-scope": "mcp.everything",
    "x-forwarded-user": "root",
}


async def test_a_user_signs_in_lists_the_tools_and_calls_one(gateway: RunningGateway, mode: str) -> None:
    user = McpUser(gateway.resource("time"))
    async with user.connected(mode) as client:
        tools = {tool.name for tool in (await client.list_tools()).tools}
        result = await client.call_tool("get_current_time", {"timezone": "Asia/Tokyo"})
    assert {"get_current_time", "convert_time"} <= tools
    assert not result.is_error
    assert "Asia/Tokyo" in str(result.content)
    assert len(user.visits) == 1


async def test_a_service_gets_the_identity_of_the_person(gateway: RunningGateway, mode: str) -> None:
    user = McpUser(gateway.resource("whoami"), login="hubot")
    async with user.connected(mode) as client:
        told = await whoami(client)
    assert user.wallet.client is not None
    assert told["user_name"] == "hubot"
    assert told["user_id"].isdigit()
    assert told["client_id"] == user.wallet.client.client_id
    assert told["token_scope"] == "mcp.whoami"


@pytest.mark.requirement("mcp:only-own-tokens", "mcp:no-passthrough")
async def test_neither_a_forged_identity_nor_the_token_reaches_a_service(
    gateway: RunningGateway, mode: str
) -> None:
    user = McpUser(gateway.resource("whoami"), login="hubot")
    async with user.connected(mode, FORGED) as client:
        told = await whoami(client)
    assert told["user_name"] == "hubot"
    assert not set(told.values()) & set(FORGED.values())
    assert told["authorization_arrived"] is False


async def test_the_client_chooses_the_protocol_version(gateway: RunningGateway, mode: str) -> None:
    async with McpUser(gateway.resource("whoami")).connected(mode) as client:
        version = client.protocol_version
    assert (version == "2026-07-28") == (mode != "legacy")
