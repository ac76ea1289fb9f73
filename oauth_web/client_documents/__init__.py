"""The documents that clients publish: client ID documents and key sets, fetched with guards and cached.

`fetch` connects to addresses that `names` resolves, `budgets` limits how often, `cache` stores the documents, and
`pinned` holds the ones that an operator ships. The rest of the program uses this module.

May import `http`. Begin here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from oauth_core import strict_json
from oauth_core.clients import client_id_documents, redirect_uris
from oauth_core.jose import client_keys
from oauth_core.limits.rate_limits import Limit, too_many_requests
from oauth_core.refusals import OAuthReason, refused
from oauth_web.client_documents import pinned
from oauth_web.client_documents.budgets import FetchBudgets, FetchLimitError
from oauth_web.client_documents.cache import DocumentCache, DocumentRefusedError, DocumentUnavailableError
from oauth_web.client_documents.fetch import GuardedFetcher, with_authorities_of
from oauth_web.http.client_addresses import caller_address

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from oauth_core.audit import AuditRecorder
    from oauth_core.grant_types import GrantType
    from oauth_core.jose.client_keys import ClientKeys
    from oauth_core.model import Client
    from oauth_core.settings import WebSettings
    from oauth_core.store.records.client_documents import DocumentStore
    from oauth_core.store.records.quotas import QuotaStore
    from oauth_core.store.records.rate_limits import RateLimitStore

_KNOWN = Path(__file__).parent / "known"
_log = structlog.get_logger("client_documents")

REMEDY = (
    'set documents = "pinned" in the table [clients], with known_documents = "pinned" for well-known clients and '
    "pinned_documents for others; or let oauth_web reach the internet on port 443"
)
"""The advice for a gateway without internet access."""

_KEY_REFETCH_SECONDS = 60
"""Minimum seconds between two fetches of a key set because of a key that it does not contain."""


@dataclass
class InternetAccess:
    """Whether documents of well-known clients can be fetched, by the last attempt; `None` before the first one.

    A made-up host proves nothing about that, so only clients whose documents ship with this program count.
    """

    is_open: bool | None = None


@dataclass(frozen=True)
class ClientDocuments:
    """Finds clients by the URL that is their id, and key sets by the URL that a client registered for them."""

    cache: DocumentCache
    pinned: Mapping[str, Client]
    fetches: bool
    allow_loopback: bool
    clock: Callable[[], int]
    grant_types: Sequence[GrantType]
    """The grant types that a document may contain."""
    app_schemes: frozenset[str] = redirect_uris.APP_SCHEMES
    hosts: tuple[str, ...] = ()
    """Hosts whose documents are accepted; if empty, every host. Pinned documents are always accepted."""
    known: Mapping[str, Client] = field(default_factory=dict)
    """Documents that ship with this program, for clients whose own document cannot be fetched from here."""
    internet_access: InternetAccess = field(default_factory=InternetAccess)

    @classmethod
    def from_settings(
        cls,
        settings: WebSettings,
        store: DocumentStore,
        rates: RateLimitStore,
        quotas: QuotaStore,
        audit: AuditRecorder,
        *,
        grant_types: Sequence[GrantType],
        tls: ssl.SSLContext,
        clock: Callable[[], int],
    ) -> ClientDocuments:
        """The client documents for these settings. Raises `SettingsError` when a file in them cannot be used.

        `tls` is the context of the process. A file of additional authorities gets its own context: they may
        vouch for client documents only.
        """
        allow_loopback = settings.allow_loopback_client_documents
        ca_file = settings.client_documents_ca_file
        fetcher = GuardedFetcher(
            allow_loopback=allow_loopback, tls=tls if ca_file is None else with_authorities_of(ca_file)
        )
        rate = settings.rate_of(Limit.DOCUMENT_FETCHES_PER_ADDRESS)
        budgets = FetchBudgets(store, rates, audit, per_address=rate)
        folder, known = (
            settings.pinned_client_documents,
            pinned.read_clients(_KNOWN, grant_types, settings.app_schemes),
        )
        of_operator = pinned.read_clients(folder, grant_types, settings.app_schemes) if folder is not None else {}
        return cls(
            cache=DocumentCache(
                fetcher, store, budgets, quotas, clock=clock, max_age=settings.client_documents_max_age
            ),
            pinned={**known, **of_operator} if settings.known_client_documents == "pinned" else of_operator,
            fetches=settings.client_documents == "fetched",
            allow_loopback=allow_loopback,
            clock=clock,
            grant_types=grant_types,
            app_schemes=settings.app_schemes,
            hosts=settings.client_document_hosts,
            known=known if settings.known_client_documents == "fallback" else {},
        )

    @property
    def are_offered(self) -> bool:
        """Whether the metadata announces client ID documents: at least some are accepted."""
        return self.fetches or bool(self.pinned)

    async def client(self, url: str) -> Client | None:
        """The client that the document at `url` describes; `None` when the operator accepts pinned ones only.

        Raises `DisplayedError`: 400 when the URL, host or document is not acceptable, 429 when this request's
        address caused too many fetches, 503 when the document is unavailable.
        """
        if url in self.pinned:
            return self.pinned[url]
        if not self.fetches:
            return None
        try:
            client_id_documents.check_url(url, loopback=self.allow_loopback)
        except ValueError as error:
            raise refused(OAuthReason.CLIENT_URL_UNFIT, fault=error) from None
        if not client_id_documents.is_accepted(url, self.hosts):
            raise refused(OAuthReason.HOST_NOT_ACCEPTED)
        try:
            client = await self.cache.read(
                client_id_documents.stored_as(url),
                url,
                lambda body: client_id_documents.parse(
                    body, url, grant_types=self.grant_types, app_schemes=self.app_schemes
                ),
                caller=caller_address(),
            )
        except DocumentRefusedError as error:
            raise refused(OAuthReason.DOCUMENT_UNUSABLE, fault=error) from None
        except DocumentUnavailableError:
            return await self._shipped(url)
        except FetchLimitError as error:
            raise too_many_requests(error.wait) from None
        if url in self.known:
            self.internet_access.is_open = True
        return client

    async def _shipped(self, url: str) -> Client:
        """The shipped document of a well-known client whose own was never fetched. Raises `DisplayedError`.

        It does not replace a fetched copy that became too old: otherwise an attacker who blocks the publisher
        could bring back what the publisher withdrew.
        """
        if url not in self.known:
            raise refused(OAuthReason.DOCUMENT_UNAVAILABLE)
        self.internet_access.is_open = False
        if await self.cache.store.exists(client_id_documents.stored_as(url)):
            raise refused(OAuthReason.DOCUMENT_UNAVAILABLE)
        _log.error("no access to clients' documents, using the one that ships", url=url, remedy=REMEDY)
        return self.known[url]

    async def keys(self, url: str, *, kid: str | None) -> ClientKeys:
        """The key set at `url`, fetched again within bounds when it has no key named `kid`.

        Raises `DisplayedError` 429 or 503, and `ValueError` when the document is no key set.
        """
        name, caller = f"keys {url}", caller_address()
        try:
            keys = await self.cache.read(name, url, _parse_keys, caller=caller)
            if keys.has(kid):
                return keys
            newer_than = self.clock() - _KEY_REFETCH_SECONDS
            return await self.cache.read(name, url, _parse_keys, caller=caller, newer_than=newer_than)
        except DocumentRefusedError as error:
            raise ValueError(f"the key set at jwks_uri cannot be used: {error}") from None
        except DocumentUnavailableError:
            raise refused(OAuthReason.KEY_SET_UNAVAILABLE) from None
        except FetchLimitError as error:
            raise too_many_requests(error.wait) from None

    async def keep_keys(self, url: str) -> None:
        """Keep the last good copy of a key set that is in use until it is too old to be used."""
        await self.cache.keep_in_use(f"keys {url}")

    async def exists(self, url: str) -> bool:
        """Whether the client at `url` is known at this moment, without a request to another host."""
        if url in self.pinned:
            return True
        if url in self.known and client_id_documents.is_accepted(url, self.hosts):
            return self.fetches
        accepted = self.fetches and client_id_documents.is_accepted(url, self.hosts)
        return accepted and await self.cache.store.exists(client_id_documents.stored_as(url))

    async def keep_for(self, url: str, seconds: int) -> None:
        """Keep the last good copy for at least `seconds` from now, which is the lifetime of a grant."""
        await self.cache.store.keep_for(client_id_documents.stored_as(url), seconds)

    async def forget(self, url: str) -> None:
        """Drop the last good copy."""
        await self.cache.store.forget(client_id_documents.stored_as(url))

    async def aclose(self) -> None:
        """Cancel the fetches that are running."""
        await self.cache.aclose()


def _parse_keys(body: bytes) -> ClientKeys:
    return client_keys.parse(strict_json.parse(body))
