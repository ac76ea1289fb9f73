"""Knocks at a service's door with plain HTTP, to see exactly what comes back."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import httpx2

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
    """The header that carries a token; none for `None`."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


async def knock(
    http: httpx2.AsyncClient, url: str, token: str | None = None, headers: Mapping[str, str] | None = None
) -> httpx2.Response:
    """Ask for an MCP session, with a token or without."""
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
