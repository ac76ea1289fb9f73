"""Clients of an MCP service: the one of the official Python SDK, which discovers how to sign in,
and plain HTTP.
"""

from __future__ import annotations

import base64
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientMetadata

from portcullis.doctor.browsers import LocalBrowser
from portcullis.doctor.client import SessionStorage

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping

_REDIRECT_URI = "http://127.0.0.1:7777/callback"
_TIMEOUT = 30.0


class McpUser:
    """One person, one client of the SDK, one service. Connections share its registration and tokens.

    `visits` are the URLs that the browser opened, one for each sign-in of the person.
    """

    def __init__(self, resource: str, *, login: str = "octocat", auth_method: str | None = None) -> None:
        """`auth_method` is requested at registration; without it the server chooses one."""
        self.resource = resource
        self.wallet = SessionStorage()
        self.visits: list[str] = []
        self._came_back: list[str] = []
        self._browser = LocalBrowser(login)
        members = {"client_name": "SDK client", "redirect_uris": [_REDIRECT_URI]}
        asked = {"token_endpoint_auth_method": auth_method} if auth_method else {}
        metadata = OAuthClientMetadata.model_validate({**members, **asked})
        self.provider = OAuthClientProvider(
            resource, metadata, self.wallet, redirect_handler=self._redirect, callback_handler=self._callback
        )

    @asynccontextmanager
    async def connected(
        self, mode: str = "auto", headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[Client]:
        """A connected client. `mode` is the SDK's: `legacy`, `auto` or a version; every request has `headers`."""
        async with (
            httpx2.AsyncClient(
                auth=self.provider,
                headers=dict(headers or {}),
                timeout=_TIMEOUT,
                event_hooks={"response": [self.wallet.record_management]},
            ) as http,
            Client(
                streamable_http_client(self.resource, http_client=http), mode=mode, read_timeout_seconds=_TIMEOUT
            ) as client,
        ):
            yield client

    @property
    def access_token(self) -> str:
        """The current access token of the client."""
        assert self.wallet.tokens is not None, "not signed in"
        return self.wallet.tokens.access_token

    async def _redirect(self, url: str) -> None:
        self.visits.append(url)
        self._came_back.append(await self._browser.visit(url, _REDIRECT_URI))

    async def _callback(self) -> AuthorizationCodeResult:
        answer = parse_qs(urlsplit(self._came_back.pop()).query)
        return AuthorizationCodeResult(
            code=answer["code"][0], state=answer.get("state", [None])[0], iss=answer.get("iss", [None])[0]
        )


async def whoami(client: Client) -> dict[str, Any]:
    """The identity that the example server received."""
    result = await client.call_tool("whoami", {})
    assert not result.is_error
    assert isinstance(result.structured_content, dict)
    return result.structured_content


async def whoami_as(resource: str, token: str, *, tls: ssl.SSLContext | None = None) -> dict[str, Any]:
    """The identity that the example server received for `token`. `tls` has the trusted authority."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=_TIMEOUT, verify=True if tls is None else tls) as http,
        Client(streamable_http_client(resource, http_client=http), read_timeout_seconds=_TIMEOUT) as client,
    ):
        return await whoami(client)


MCP_HEADERS = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "knocking", "version": "1"},
    },
}


def bearer(token: str | None) -> dict[str, str]:
    """The header with a token; none for `None`."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


async def probe(
    http: httpx2.AsyncClient, url: str, token: str | None = None, headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    """Request an MCP session, with a token or without."""
    return await http.post(url, json=INITIALIZE, headers={**MCP_HEADERS, **bearer(token), **(headers or {})})


def challenge(answer: httpx2.Response) -> dict[str, str]:
    """The parameters of the one `WWW-Authenticate: Bearer` challenge (RFC 6750 section 3)."""
    (value,) = answer.headers.get_list("WWW-Authenticate")
    scheme, _, parameters = value.partition(" ")
    assert scheme == "Bearer"
    return dict(re.findall(r'(\w+)="([^"]*)"', parameters))


def claims_of(token: str) -> dict[str, Any]:
    """The claims of an access token, unverified."""
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims
