"""A gateway without internet access: well-known clients still sign in."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import httpx2
import pytest
from quart import Quart

from oauth_core.clients.client_id_documents import stored_as
from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import DisplayedError
from oauth_core.settings import WebSettings, load
from oauth_web.client_documents.fetch import GuardedFetcher
from oauth_web.grants.catalog import GRANT_TYPES
from oauth_web.runtime.deps import wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from oauth_web.client_documents import ClientDocuments
    from tests.support.web_process import WebServer

CLAUDE_CODE = "https://claude.ai/oauth/claude-code-client-metadata"
OTHER = "https://app.example/client.json"


@pytest.fixture
async def documents(web: WebServer) -> AsyncIterator[ClientDocuments]:
    """Client documents where no name can be looked up, as behind a firewall."""

    async def nowhere(host: str) -> Sequence[str]:
        raise OSError(f"{host}: no route")

    deps = await wire(load(WebSettings, None, web.environment), GRANT_TYPES)
    dead = GuardedFetcher(allow_loopback=False, tls=httpx2.create_ssl_context(), resolver=nowhere)
    deps.documents.cache._fetcher = dead
    with web.redis.client() as redis:
        for name in redis.scan_iter("document*"):
            redis.delete(name)
    try:
        async with Quart("no-internet").test_request_context("/authorize"):
            yield deps.documents
    finally:
        await deps.aclose()


async def test_a_well_known_client_is_known_by_the_shipped_document(documents: ClientDocuments) -> None:
    client = await documents.client(CLAUDE_CODE)
    assert client is not None
    assert (client.client_id, client.client_name) == (CLAUDE_CODE, "Claude Code")
    assert client.redirect_uris == ("http://localhost/callback", "http://127.0.0.1/callback")
    assert documents.internet_access.is_open is False
    assert await documents.exists(CLAUDE_CODE)


async def test_for_any_other_client_the_error_names_missing_internet_access(documents: ClientDocuments) -> None:
    with pytest.raises(DisplayedError, match="no access to the internet") as refused:
        await documents.client(OTHER)
    assert refused.value.status == 503
    assert documents.internet_access.is_open is None, "a request for a host that does not exist proves nothing"


async def test_an_earlier_copy_of_a_document_is_not_replaced_by_the_shipped_one(
    documents: ClientDocuments,
) -> None:
    await documents.cache.store._redis.hset(  # a copy from long ago
        f"document:{hash_secret(stored_as(CLAUDE_CODE))}",
        mapping={"body": "{}", "fetched_at": 1, "fresh_until": 1},
    )
    with pytest.raises(DisplayedError, match="could not be fetched"):
        await documents.client(CLAUDE_CODE)


async def test_an_operator_can_turn_shipped_documents_off(documents: ClientDocuments) -> None:
    with pytest.raises(DisplayedError, match="could not be fetched"):
        await replace(documents, known={}).client(CLAUDE_CODE)
    with pytest.raises(DisplayedError, match="not accepted"):
        await replace(documents, hosts=("app.example",)).client(CLAUDE_CODE)
