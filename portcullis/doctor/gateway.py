"""A gateway as its public endpoints describe it: metadata and services; and one request to a service."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Any

import httpx2

from oauth_core.net.public_urls import well_known
from oauth_core.policy.resources import metadata_url
from portcullis.doctor.http_clients import HttpClientFactory, error_in_words

_INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "portcullis-doctor", "version": "1"},
    },
}
_ACCEPT = {"Accept": "application/json, text/event-stream"}


class UnreachableError(Exception):
    """There is no gateway at that address, or it has no metadata. The message says what was found."""


class NoAnswerError(UnreachableError):
    """No server answers at that address."""


@dataclass(frozen=True)
class Gateway:
    """A gateway that answered: its issuer, its metadata, and the resource identifiers of its services."""

    issuer: str
    metadata: dict[str, Any]
    resources: tuple[str, ...]
    http: httpx2.AsyncClient
    clients: HttpClientFactory = field(default_factory=HttpClientFactory)

    async def probe(
        self,
        resource: str,
        token: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        url: str | None = None,
        target: str | None = None,
    ) -> httpx2.Response:
        """Send MCP's `initialize` to `resource` (or to another `url`), with a token or without.

        It follows no redirects. `target` is the exact request target; the HTTP client would normalize a URL.
        """
        given = {**_ACCEPT, **({"Authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        extensions = {"target": target.encode("ascii")} if target else {}
        return await self.http.post(url or resource, json=_INITIALIZE, headers=given, extensions=extensions)

    async def resource_metadata(self, resource: str) -> dict[str, Any]:
        """The RFC 9728 document of one service; empty when there is none."""
        answer = await self.http.get(metadata_url(resource))
        try:
            document = answer.json() if answer.is_success else {}
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


async def discover(url: str, http: httpx2.AsyncClient, clients: HttpClientFactory | None = None) -> Gateway:
    """Find the gateway at `url`. Raises `UnreachableError`."""
    issuer = url.rstrip("/")
    try:
        where = well_known(issuer, "oauth-authorization-server")
    except ValueError as error:
        raise UnreachableError(f"{url}: {error}") from None
    try:
        answer = await http.get(where)
    except (httpx2.HTTPError, httpx2.InvalidURL, ssl.SSLError) as error:
        raise NoAnswerError(f"{where}: {error_in_words(error, str(where))}") from None
    if not answer.is_success:
        raise UnreachableError(f"{where} answered {answer.status_code}")
    try:
        metadata = answer.json()
        resources = metadata["protected_resources"]
    except (ValueError, KeyError, TypeError):
        metadata, resources = {}, None
    if not isinstance(resources, list) or not all(isinstance(resource, str) for resource in resources):
        raise UnreachableError(f"{where} is not the metadata of a Portcullis gateway")
    if not resources:
        raise UnreachableError(f"{where} names no services")
    return Gateway(issuer, metadata, tuple(resources), http, clients or HttpClientFactory())
