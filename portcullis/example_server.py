"""A small MCP server, written with the official SDK, that shows the identity that it gets from the gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel

from oauth_core.net.listen_addresses import ListenAddress, TcpAddress
from portcullis.programs.serving import LOCAL_HOSTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.applications import Starlette


class Identity(BaseModel):
    """The identity headers of a request; `None` for each that is absent.

    `assertion` is the signed assertion, for a service that gets one. `authorization_arrived` is whether the
    caller's token reached the service, which the gateway must prevent.
    """

    user_id: str | None
    user_name: str | None
    client_id: str | None
    token_scope: str | None
    assertion: str | None
    authorization_arrived: bool


def create_server() -> MCPServer:
    """The server, with the tools `whoami` and `echo`."""
    server = MCPServer("portcullis-example", instructions="Ask `whoami` who the gateway says you are.")

    @server.tool()
    def whoami(context: Context) -> Identity:
        """Show who the gateway says you are."""
        headers = context.headers or {}
        return Identity(
            user_id=headers.get("x-user-id"),
            user_name=headers.get("x-user-name"),
            client_id=headers.get("x-client-id"),
            token_scope=headers.get("x-token-scope"),
            assertion=headers.get("x-portcullis-assertion"),
            authorization_arrived="authorization" in headers,
        )

    @server.tool()
    def echo(text: str) -> str:
        """Return `text` unchanged."""
        return text

    return server


def create_app(address: ListenAddress, names: Sequence[str] = ()) -> Starlette:
    """Streamable HTTP at `/mcp`, for old clients with sessions and new ones without.

    On a TCP port a web page could reach the server by another name (DNS rebinding), so it checks `Host` and
    `Origin` there; `names` are further accepted `Host` values. Only the gateway can open the Unix socket, and it
    has checked both.
    """
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=isinstance(address, TcpAddress),
        allowed_hosts=[*LOCAL_HOSTS, *names],
        allowed_origins=[f"http://{host}" for host in LOCAL_HOSTS],
    )
    return create_server().streamable_http_app(streamable_http_path="/mcp", transport_security=security)
