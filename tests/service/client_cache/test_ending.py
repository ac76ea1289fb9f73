"""The end of a cache: what its topology hears while everything is being cancelled begins nothing new."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Never, cast

from oauth_core.store.client_cache.client_cache import ClientCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from oauth_core.store.topology.quorum import Address


class LateTopology:
    """Hears of another server at the very end, as when an answer and the end come together."""

    is_spread = False
    until = float("inf")

    def __init__(self) -> None:
        self.addresses: frozenset[Address] = frozenset()
        self.has_begun = asyncio.Event()

    def owner(self, _key: str) -> tuple[Address | None, float]:
        return None, self.until

    def client(self, _address: Address) -> Redis:
        return cast("Redis", None)  # nothing asks it: no connection is begun

    async def keep_current(self, changed: Callable[[], None]) -> Never:
        self.has_begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.addresses = frozenset({("127.0.0.1", 1)})
            changed()
        raise AssertionError("nobody sets it")

    async def aclose(self) -> None:
        """There is nothing to close."""


async def test_a_server_that_is_heard_of_at_the_end_gets_no_connection() -> None:
    topology = LateTopology()
    cache = ClientCache(topology, timeout=1, bound=1, size=1)
    keeping = asyncio.create_task(cache.maintain_connections())
    await topology.has_begun.wait()
    keeping.cancel()
    (ended,) = await asyncio.gather(keeping, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), "and no error of ours"
    gc.collect()  # what was begun and never awaited would be an error here
