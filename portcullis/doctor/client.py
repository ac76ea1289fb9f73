"""A real MCP client, from the official SDK, that signs in and calls; and the credentials that it obtained."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from oauth_core.process.ports import free_port
from portcullis.doctor.browsers import SignInError
from portcullis.doctor.http_clients import HttpClientFactory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from portcullis.doctor.browsers import Browser


_CREATED = 201
_TIMEOUT = 30.0


@dataclass(frozen=True)
class Management:
    """The URL and the token that manage a registration (RFC 7592). The SDK does not keep them."""

    url: str
    registration_token: str


class SessionStorage:
    """Keeps what the SDK obtains, for one run (the SDK's `TokenStorage`), and how to reach the gateway."""

    def __init__(self, clients: HttpClientFactory | None = None) -> None:
        self.clients = clients or HttpClientFactory()
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None
        self.management: Management | None = None

    async def get_tokens(self) -> OAuthToken | None:
        """The tokens, or `None` before the sign-in."""
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep new tokens."""
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        """The registration, or `None` before it."""
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        """Keep a registration."""
        self.client = client_info

    async def record_management(self, answer: httpx2.Response) -> None:
        """Keep the management URL and token from the answer to a registration (a response hook)."""
        if answer.request.method == "POST" and answer.status_code == _CREATED:
            await answer.aread()
            document = answer.json()
            if isinstance(document, dict) and "registration_client_uri" in document:
                self.management = Management(
                    document["registration_client_uri"], document["registration_access_token"]
                )


@dataclass(frozen=True)
class SignedIn:
    """A service after a sign-in: its access token, its tools, and how many seconds the sign-in took."""

    resource: str
    access_token: str
    tools: tuple[str, ...]
    seconds: float


@asynccontextmanager
async def connected(
    resource: str, storage: SessionStorage, browser: Browser, headers: dict[str, str] | None = None
) -> AsyncIterator[Client]:
    """An SDK client at `resource`, which signs in through `browser` when it must."""
    redirect_uri = f"http://127.0.0.1:{free_port()}/callback"
    came_back: list[str] = []

    async def redirect(url: str) -> None:
        came_back.append(await browser.visit(url, redirect_uri))

    async def callback() -> AuthorizationCodeResult:
        answer = parse_qs(urlsplit(came_back.pop()).query)
        if "code" not in answer:
            raise SignInError(" ".join(answer.get("error_description") or answer.get("error") or ["no code"]))
        return AuthorizationCodeResult(
            code=answer["code"][0], state=answer.get("state", [None])[0], iss=answer.get("iss", [None])[0]
        )

    metadata = OAuthClientMetadata.model_validate(
        {
            "client_name": "Portcullis doctor",
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "none",
        }
    )
    provider = OAuthClientProvider(
        resource, metadata, storage, redirect_handler=redirect, callback_handler=callback
    )
    async with (
        storage.clients.client(
            auth=provider, headers=headers, timeout=_TIMEOUT, event_hooks={"response": [storage.record_management]}
        ) as http,
        Client(streamable_http_client(resource, http_client=http), read_timeout_seconds=_TIMEOUT) as client,
    ):
        yield client


async def sign_in(resource: str, storage: SessionStorage, browser: Browser) -> SignedIn:
    """Discover, register, sign in and list the tools of one service, as any client would."""
    started = time.monotonic()
    async with connected(resource, storage, browser) as client:
        tools = tuple(tool.name for tool in (await client.list_tools()).tools)
    if storage.tokens is None:
        raise SignInError(f"{resource} did not require a token")
    return SignedIn(resource, storage.tokens.access_token, tools, time.monotonic() - started)


async def call_whoami(
    resource: str, storage: SessionStorage, browser: Browser, headers: dict[str, str]
) -> dict[str, Any] | None:
    """The identity that the example server received, when the doctor sends `headers` too."""
    async with connected(resource, storage, browser, headers) as client:
        result = await client.call_tool("whoami", {})
    content = result.structured_content
    return content if isinstance(content, dict) else None
