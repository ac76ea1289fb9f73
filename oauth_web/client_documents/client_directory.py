"""The directory of all clients: registered ones, and those whose id is the URL of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.clients.client_id_documents import is_url
from oauth_core.store.records.clients import ClientStore

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from oauth_core.crypto.record_authentication import RecordKey
    from oauth_core.model import Client
    from oauth_web.client_documents import ClientDocuments


_DAY = 86_400


class ClientDirectory(ClientStore):
    """Finds registered clients in the store, and clients with a URL as id by their document."""

    def __init__(self, redis: Redis, key: RecordKey, documents: ClientDocuments) -> None:
        super().__init__(redis, key)
        self._documents = documents

    async def get(self, client_id: str) -> Client | None:
        """The client. Raises `DisplayedError`, also when its document is unavailable or not acceptable."""
        return await (self._documents.client(client_id) if is_url(client_id) else super().get(client_id))

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
