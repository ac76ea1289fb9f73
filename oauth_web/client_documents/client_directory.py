"""The directory of all clients: registered ones, and those whose id is the URL of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Never

from oauth_core.clients.client_id_documents import is_url
from oauth_core.clients.disabling import traits_of
from oauth_core.refusals import OAuthReason, refused
from oauth_core.store.records.clients import ClientStore
from oauth_core.store.records.disabled_clients import DisabledClientStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.model import Client
    from oauth_web.client_documents import ClientDocuments


_DAY = 86_400


class ClientDirectory(ClientStore):
    """Finds registered clients in the store, and clients with a URL as id by their document."""

    def __init__(
        self, redis: Redis, key: RecordKey, documents: ClientDocuments, *, on_refusal: Callable[[str], None]
    ) -> None:
        """`on_refusal` records that the client of this id was refused because it is disabled."""
        super().__init__(redis, key)
        self._documents = documents
        self._disabled = DisabledClientStore(redis)
        self._on_refusal = on_refusal

    async def get(self, client_id: str) -> Client | None:
        """The client. Raises `DisplayedError`: when its document is unavailable or not acceptable, or when the
        client is disabled.
        """
        await self.check_enabled(client_id)  # before its document is fetched
        client = await self.get_even_disabled(client_id)
        if client is not None:
            await self._check_document(client)
        return client

    async def is_disabled(self, client_id: str) -> bool:
        """Whether an operator disabled the client. Raises `StoreUnavailableError`."""
        return await self._disabled.is_disabled(client_id)

    async def check_enabled(self, client_id: str) -> None:
        """Pass unless an operator disabled the client. Raises `DisplayedError`."""
        if await self._disabled.is_disabled(client_id):
            self._refuse(client_id)

    async def check_enabled_client(self, client: Client) -> None:
        """The same for a client that was found. Raises `DisplayedError`."""
        await self.check_enabled(client.client_id)
        await self._check_document(client)

    async def has_disabled_trait(self, client: Client) -> bool:
        """Whether a disabled client has the same metadata or an address in common
        (`oauth_core.clients.disabling`).
        """
        return await self._disabled.is_any_disabled(traits_of(client))

    async def _check_document(self, client: Client) -> None:
        # A disabled client must not come back by a document. A registered client was compared when it registered.
        if is_url(client.client_id) and await self.has_disabled_trait(client):
            self._refuse(client.client_id)

    def _refuse(self, client_id: str) -> Never:
        self._on_refusal(client_id)
        raise refused(OAuthReason.CLIENT_DISABLED)

    async def get_even_disabled(self, client_id: str) -> Client | None:
        """The client, also when it is disabled: for what only takes rights away. Raises `DisplayedError`."""
        return await (self._documents.client(client_id) if is_url(client_id) else self.get_stored(client_id))

    async def exists(self, client_id: str) -> bool:
        """Whether the client is known at this moment."""
        return await (self._documents.exists(client_id) if is_url(client_id) else super().exists(client_id))

    async def keep_for(self, client_id: str, seconds: int, *, lifetime: int) -> None:
        """Keep the client's record or document longer than a grant that ends `seconds` from now."""
        await (
            self._documents.keep_for(client_id, seconds + (lifetime or _DAY))
            if is_url(client_id)
            else super().keep_for(client_id, seconds, lifetime=lifetime)
        )

    async def delete(self, client_id: str) -> int:
        """Delete the client's data (`ClientStore.delete`). A client with a document may come back."""
        if is_url(client_id):
            await self._documents.forget(client_id)
        return await super().delete(client_id)
