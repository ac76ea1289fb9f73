"""A gateway with roles and a service with tool rules, tokens for it, and calls of its tools."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.oauth_client import OAuthClient, Pkce

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway

SERVICES = """
issuer = "http://localhost:8080"

[[services]]
name = "plain"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"

[[services]]
name = "ruled"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"
[services.permissions]
tools = { whoami = "mcp.ruled.read", "*" = "mcp.ruled.write" }
resources = { "file:///public/*" = "mcp.ruled.read", "file:///*" = ["mcp.ruled.read", "mcp.ruled.write"] }
[services.permission_titles]
"mcp.ruled.read" = "See <who> calls"
"""
ROLES = """
[roles.reader]
permissions = ["mcp.plain", "mcp.ruled.read"]
users = ["octocat"]

[roles.writer]
permissions = ["mcp.ruled"]
users = ["hubot"]
"""
READ = "mcp.ruled.read"
WRITE = "mcp.ruled.write"


async def token_of(gateway: RunningGateway, login: str, scope: str, service: str = "ruled") -> str:
    """An access token for `service`, after a sign-in step by step."""
    async with OAuthClient(gateway.url) as client:
        registered = await client.register()
        pkce = Pkce.fresh()
        asked = {"scope": scope, "resource": gateway.resource(service)}
        came_back = await client.authorize(
            client.authorize_url(registered.client_id, pkce.challenge, **asked), login
        )
        answer = await client.redeem(registered.client_id, came_back["code"], pkce.verifier)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["access_token"])


def call(tool: str, **arguments: object) -> dict[str, Any]:
    """A request that calls this tool."""
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


TWICE = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","name":"echo"}}'
"""A call with two names."""
PLAIN = json.dumps(call("whoami")).encode()
