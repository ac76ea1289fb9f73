"""The end of a cache: a server that the topology reports during cancellation starts no new connection."""

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
    """Reports another server at the very end, as when an answer and the cancellation arrive together."""

    is_spread = False
    until = float("inf")

    def __init__(self) -> None:
        self.addresses: frozenset[Address] = frozenset()
        self.has_begun = asyncio.Event()

    def owner(self, _key: str) -> tuple[Address | None, float]:
        return None, self.until

    def client(self, _address: Address) -> Redis:
        return cast("Redis", None)  # nothing uses it: no connection is begun

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


async def test_a_server_that_is_reported_during_cancellation_gets_no_connection() -> None:
    topology = LateTopology()
    cache = ClientCache(topology, timeout=1, bound=1, size=1)
    keeping = asyncio.create_task(cache.maintain_connections())
    await topology.has_begun.wait()
    keeping.cancel()
    (ended,) = await asyncio.gather(keeping, return_exceptions=True)
    assert isinstance(ended, asyncio.CancelledError), "no other error"
    gc.collect()  # a coroutine that was never awaited would cause an error here
