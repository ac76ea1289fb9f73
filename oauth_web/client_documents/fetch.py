"""The guarded fetch: a small JSON document from a URL that an untrusted caller chose, and from no other place.

The host is resolved once, and all its addresses must be public. The connection goes to one of exactly these
addresses, so a name that resolves differently the next time gains nothing (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2

from oauth_core.errors import SettingsError
from oauth_core.net import special_addresses
from oauth_web.client_documents.names import resolve

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

LARGEST = 5 * 1024
"""Maximum bytes of a document."""
TOTAL_SECONDS = 3.0
"""From the resolution of the name to the last byte."""
SHORTEST_FRESH, LONGEST_FRESH, USUAL_FRESH = 60, 86_400, 3_600
"""Seconds for which a document is fresh: the least and the most allowed, and the default without `max-age`."""

_OK = 200
_JSON = re.compile(r"application/(?:[a-z0-9.+-]+\+)?json\Z")
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "portcullis"}


class FetchError(Exception):
    """The document could not be fetched. The message is for the log, not for callers."""


@dataclass(frozen=True)
class Fetched:
    """A document, and the seconds for which it may be used without another fetch."""

    body: bytes
    fresh_for: int


def with_authorities_of(ca_file: Path) -> ssl.SSLContext:
    """A TLS context with the default authorities and those in `ca_file`. Raises `SettingsError`."""
    context = httpx2.create_ssl_context()
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # `ssl.SSLError` is a subclass
        raise SettingsError([f"clients.documents_ca_file: {ca_file}: {error.strerror or error}"]) from None
    return context


class GuardedFetcher:
    """Fetches documents. `budgets` limits how many at once.

    `allow_loopback` permits addresses of this machine, for tests; every other special address stays refused.
    """

    def __init__(
        self,
        *,
        allow_loopback: bool,
        tls: ssl.SSLContext,
        resolver: Callable[[str], Awaitable[Sequence[str]]] = resolve,
        total_seconds: float = TOTAL_SECONDS,
    ) -> None:
        self._allow_loopback = allow_loopback
        self._tls = tls
        self._resolver = resolver
        self._total_seconds = total_seconds

    async def fetch(self, url: str) -> Fetched:
        """The document at `url`. Raises `FetchError`, also when any step takes too long."""
        try:
            async with asyncio.timeout(self._total_seconds):
                return await self._get(url, await self._address(url))
        except TimeoutError:
            raise FetchError("it took too long") from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise FetchError(f"{type(error).__name__}: {error}") from None

    async def _address(self, url: str) -> str:
        """The address to connect to. Raises `FetchError` when any address of the host is not permitted."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        addresses = await self._resolver(host)
        # One bad address makes the name unacceptable: honest names do not mix public and private ones.
        if not addresses or not all(self._may_reach(address) for address in addresses):
            raise FetchError(f"{host} has no address, or one that is not public")
        if parts.scheme != "https" and not all(map(special_addresses.is_loopback, addresses)):
            raise FetchError("only https leaves this machine")
        return addresses[0]

    def _may_reach(self, address: str) -> bool:
        if special_addresses.is_public(address):
            return True
        return self._allow_loopback and special_addresses.is_loopback(address)

    async def _get(self, url: str, address: str) -> Fetched:
        parts = urlsplit(url)
        # One HTTP client for each fetch: a pool finds kept connections by address, so it could reuse one whose
        # certificate was checked for another name. It also keeps no cookies. The environment is ignored, so no
        # proxy can connect to an address of its choice.
        async with (
            httpx2.AsyncClient(verify=self._tls, trust_env=False, timeout=self._total_seconds) as http,
            http.stream(
                "GET",
                httpx2.URL(url).copy_with(host=address),
                headers={**_HEADERS, "Host": parts.netloc},
                # The certificate must be valid for the host name.
                extensions={"sni_hostname": parts.hostname},
                follow_redirects=False,
            ) as answer,
        ):
            if answer.status_code != _OK:
                raise FetchError(f"it answered with {answer.status_code}")
            kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if not _JSON.match(kind):
                raise FetchError("it is not declared to be JSON")
            if answer.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
                raise FetchError("it is compressed, and we asked for it plain")
            body = bytearray()
            async for part in answer.aiter_raw():
                body += part
                if len(body) > LARGEST:
                    raise FetchError(f"it has more than {LARGEST} bytes")
            return Fetched(bytes(body), fresh_for(answer.headers.get("Cache-Control", "")))


def fresh_for(cache_control: str) -> int:
    """The seconds that `Cache-Control` (RFC 9111 section 5.2.2) allows, within our bounds."""
    directives = [directive.strip().lower() for directive in cache_control.split(",")]
    if {"no-store", "no-cache"} & {directive.partition("=")[0] for directive in directives}:
        return SHORTEST_FRESH
    for directive in directives:
        name, _, value = directive.partition("=")
        digits = value.strip('" ')
        if name == "max-age" and digits.isascii() and digits.isdigit():
            # More than 12 digits are beyond the bound anyway; parsing them all would waste time.
            return max(SHORTEST_FRESH, min(LONGEST_FRESH, int(digits[:12])))
    return USUAL_FRESH
