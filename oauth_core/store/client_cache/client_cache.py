"""The client cache of this process, for one server, for servers behind Sentinels, or for a cluster.

It has a `ServerCache` for each server; the topology defines which server counts for a key, and until when. A
cached answer is used only while both are valid. The rules are in `oauth_core.store.client_cache.token_cache`.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Never

from oauth_core.errors import StoreUnavailableError
from oauth_core.jose.jwk_set_signature import newest
from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from oauth_core.store.client_cache.server_cache import CacheCounts, ServerCache
from oauth_core.store.client_cache.tracked_document import Copies, TrackedDocument
from oauth_core.store.clock import unsleeping_clock
from oauth_core.store.connection import guarded
from oauth_core.store.copies import copy_keys
from oauth_core.store.records.disabled_services import merge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oauth_core.store.client_cache.tracking_connection import TrackingConnection
    from oauth_core.store.topology.quorum import Address
    from oauth_core.store.topology.topology import RedisTopology


_PATIENCES_IN_BOUND = 8


class ClientCache:
    """Returns token statuses, mostly without asking Redis. Run `maintain_connections` while it is used."""

    def __init__(
        self,
        topology: RedisTopology,
        *,
        timeout: float,
        bound: float,
        size: int,
        absent_size: int = 10_000,
        concurrent: int = 1000,
        report: Callable[[str | None], None] = lambda _error: None,
        clock: Callable[[], float] = unsleeping_clock,
    ) -> None:
        """`timeout` is the longest wait of a caller in seconds.

        `bound` is the longest, in seconds, that a change may go unnoticed. For each server, `size` limits the
        cached active tokens, `absent_size` the cached revoked ones, and `concurrent` the open lookups. `report`
        is called when a connection opens (`None`) and when none is left (the kind of error).
        """
        self.counts = CacheCounts()
        self._topology = topology
        self._bound = bound
        self._deadline = min(timeout, bound)
        self._clock = clock
        self._new_server_cache = partial(
            ServerCache,
            timeout=timeout,
            bound=bound,
            size=size,
            absent_size=absent_size,
            concurrent=concurrent,
            counts=self.counts,
            report=report,
            changed=self._keys_changed,
            clock=clock,
        )
        self._nodes: dict[Address, ServerCache] = {}
        self._connection_tasks: dict[Address, asyncio.Task[Never]] = {}
        self.published_keys = self._copies(keyspace.JWKS, newest)
        self.disabled_services = self._copies(keyspace.DISABLED_SERVICES, merge)
        for address in topology.addresses:
            self._nodes[address] = self._new_server_cache(topology.client(address))

    @property
    def is_connected(self) -> bool:
        """Whether cached statuses of all servers are valid now."""
        return self._clock() < self._trusted_until

    @property
    def staleness(self) -> float:
        """Seconds since Redis last proved that no change was missed; infinite without a tracking connection."""
        return self._clock() - self._trusted_until + self._bound

    @property
    def waiting(self) -> int:
        """The number of lookups in Redis without an answer yet."""
        return sum(node.waiting for node in self._nodes.values())

    def __len__(self) -> int:
        return sum(len(node) for node in self._nodes.values())

    def cached_status(self, jti: str) -> TokenStatus | None:
        """Return the status of the token `jti` if it is known without asking Redis, else `None`."""
        now = self._clock()
        node = self._node_for(keyspace.token(jti), now)
        return None if node is None else node.cached_status(jti, now)

    async def token_status(self, jti: str) -> TokenStatus:
        """Return the status of the token `jti`.

        Never raises for a failure of Redis: without an answer the status is UNKNOWN.
        """
        key = keyspace.token(jti)
        node = self._node_for(key, self._clock())
        if node is None:
            return TokenStatus.UNKNOWN
        answer = await node.token_status(jti)
        # Meanwhile another server may have become the owner, or this one may have lost its majority.
        return answer if self._counts_still(key, node) else TokenStatus.UNKNOWN

    async def maintain_connections(self) -> Never:
        """Keep a tracking connection to every server that counts, for ever."""
        async with asyncio.TaskGroup() as group:

            def changed() -> None:
                self._follow(group)

            self._follow(group)
            group.create_task(self._topology.keep_current(changed))
        raise AssertionError("none of these tasks ends")

    @property
    def _trusted_until(self) -> float:
        return min([self._topology.until, *(node.trusted_until for node in self._nodes.values())])

    def _follow(self, group: asyncio.TaskGroup) -> None:
        """Clear all caches, because ownership may have changed, and keep a cache of each server that counts."""
        wanted = self._topology.addresses
        for address in self._nodes.keys() - wanted:
            del self._nodes[address]
            if address in self._connection_tasks:
                self._connection_tasks.pop(address).cancel()
        for address in wanted:
            if address in self._nodes:
                self._nodes[address].clear()
            else:
                self._nodes[address] = self._new_server_cache(self._topology.client(address))
            if address not in self._connection_tasks:
                maintaining = self._nodes[address].maintain_connection()
                try:
                    self._connection_tasks[address] = group.create_task(maintaining)
                except RuntimeError:  # the group is ending: no connection is needed
                    maintaining.close()
        self._keys_changed(None)

    def _counts_still(self, key: str, node: ServerCache) -> bool:
        return self._node_for(key, self._clock()) is node

    def _keys_changed(self, keys: list[bytes] | None) -> None:
        for document in (self.published_keys, self.disabled_services):
            document.may_have_changed(keys)

    def _copies(self, key: str, combine: Callable[[Sequence[str | bytes | None]], str | bytes | None]) -> Copies:
        keys = copy_keys(key) if self._topology.is_spread else (key,)
        return Copies(
            [self._tracked_document(key) for key in keys], combine, patience=self._bound / _PATIENCES_IN_BOUND
        )

    def _tracked_document(self, key: str) -> TrackedDocument:
        return TrackedDocument(
            key,
            partial(self._read_directly, key),
            connection=lambda: self._connection_for(key),
            is_trusted=lambda now: self._is_trusted_for(key, now),
            deadline=self._deadline,
            bound=self._bound,
            clock=self._clock,
        )

    def _node_for(self, key: str, now: float) -> ServerCache | None:
        """Return the cache of the server that counts for `key`, if that is certain at `now`."""
        address, until = self._topology.owner(key)
        return None if address is None or now >= until else self._nodes.get(address)

    def _connection_for(self, key: str) -> TrackingConnection | None:
        node = self._node_for(key, self._clock())
        return None if node is None else node.connection

    def _is_trusted_for(self, key: str, now: float) -> bool:
        node = self._node_for(key, now)
        return node is not None and now < node.trusted_until

    async def _read_directly(self, key: str) -> str | bytes | None:
        node = self._node_for(key, self._clock())
        if node is None:
            raise StoreUnavailableError("it is not certain which Redis server counts")
        async with guarded(), asyncio.timeout(self._deadline):
            document: str | bytes | None = await node.redis.get(key)
        if not self._counts_still(key, node):
            raise StoreUnavailableError("another Redis server counts now")
        return document
