"""The memory use of Redis: `used_memory` and `maxmemory`, read at most once a second."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from redis.asyncio import RedisCluster
from redis.exceptions import NoPermissionError

from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from redis.asyncio import Redis

_GOOD_FOR = 1.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the fullest server. `most` is 0 if there is no limit, or no permission to read it."""

    used: int = 0
    most: int = 0

    @property
    def free_share(self) -> float:
        """The free share of the memory; 1 without a limit."""
        return 1.0 if self.most == 0 else max(0.0, 1 - self.used / self.most)


class MemoryReader:
    """Reads the memory use. Without the permission (`+info`) it calls `refused` once, and reports no limit."""

    def __init__(self, redis: Redis, *, refused: Callable[[], None]) -> None:
        self._redis = redis
        self._last = Memory()
        self._read_at = -_GOOD_FOR
        self._refused = refused
        self._is_blind = False

    async def read(self) -> Memory:
        """Return the memory use, at most a second old. Raises `StoreUnavailableError`."""
        if monotonic() - self._read_at >= _GOOD_FOR:
            # Set first, so that only one of many concurrent callers reads.
            self._read_at = monotonic()
            self._last = await self._ask()
        return self._last

    async def _ask(self) -> Memory:
        async with guarded():
            # A cluster returns an answer for each of its servers.
            client: object = self._redis
            of_each: dict[str, str] = {}
            if isinstance(client, RedisCluster):
                of_each["target_nodes"] = RedisCluster.PRIMARIES
            try:
                about: Mapping[str, Any] = await self._redis.info("memory", **of_each)
            except NoPermissionError:
                if not self._is_blind:
                    self._is_blind = True
                    self._refused()
                return Memory()
        servers = [about] if "used_memory" in about else about.values()
        return min(_memories(servers), key=lambda memory: memory.free_share, default=Memory())


def _memories(servers: Iterable[Mapping[str, Any]]) -> Iterable[Memory]:
    for server in servers:
        # Buffers for replicas do not count towards the limit.
        used = int(server.get("used_memory", 0)) - int(server.get("mem_not_counted_for_evict", 0))
        yield Memory(used, int(server.get("maxmemory", 0)))
