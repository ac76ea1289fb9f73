"""The server cache: token statuses of one Redis server, cached while its tracking connection is good.

The rules are in `oauth_core.store.client_cache.token_cache`; this module does the input and output for them. It
keeps the connection, and callers share answers. Without the connection each lookup goes to Redis over another
one, with a deadline.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from redis.exceptions import RedisError

from oauth_core.policy.decision import TokenStatus
from oauth_core.process.backoff import Backoff
from oauth_core.store import keyspace
from oauth_core.store.client_cache.token_cache import TokenCache
from oauth_core.store.client_cache.token_status import RedisTokenStatus
from oauth_core.store.client_cache.tracking_connection import open_tracking_connection
from oauth_core.store.failures import known_cause
from oauth_core.store.topology.cancellable_sleep import cancellable_sleep

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from oauth_core.store.client_cache.token_cache import Lookup
    from oauth_core.store.client_cache.tracking_connection import TrackingConnection

_TOKEN_PREFIX = keyspace.token("").encode()
_RETRY_FIRST = 0.02
_RETRY_LAST = 0.5


@dataclass(slots=True)
class CacheCounts:
    """Events since the start."""

    misses: int = 0
    """Lookups that were sent to Redis."""
    shared: int = 0
    """Callers that shared a lookup of another caller."""
    refused: int = 0
    """Callers that got UNKNOWN because too many lookups were open."""
    invalidations: int = 0
    connections: int = 0
    """Tracking connections that were opened; each but the first follows a loss."""


class ServerCache:
    """Returns token statuses of one server, mostly without asking it. Run `maintain_connection` for as long as it
    is used.
    """

    def __init__(
        self,
        redis: Redis,
        *,
        timeout: float,
        bound: float,
        size: int,
        absent_size: int,
        concurrent: int,
        counts: CacheCounts,
        report: Callable[[str | None], None],
        changed: Callable[[list[bytes] | None], None],
        clock: Callable[[], float],
    ) -> None:
        """`timeout`, `bound` and the numbers are as in `ClientCache`; `counts` is added to.

        `report` is called when a connection opens (`None`) and when none is left (the kind of error). `changed`
        gets the keys that may have changed, or `None` for all keys.
        """
        self.counts = counts
        self.redis = redis
        self._timeout = timeout
        self._bound = bound
        self._concurrent = concurrent
        self._clock = clock
        self._cache: TokenCache[asyncio.Future[TokenStatus | None]] = TokenCache(
            bound=bound, size=size, absent_size=absent_size
        )
        self._connection: TrackingConnection | None = None
        self._open_lookups = 0
        # An answer that took longer than the bound may not be used any more.
        self._deadline = min(timeout, bound)
        self._direct = RedisTokenStatus(redis, timeout=self._deadline)
        self._direct_lookups: dict[str, asyncio.Task[TokenStatus]] = {}
        self._report = report
        self._changed = changed

    @property
    def connection(self) -> TrackingConnection | None:
        """The present tracking connection."""
        return self._connection

    @property
    def trusted_until(self) -> float:
        """The time until which cached statuses are valid."""
        return self._cache.trusted_until

    @property
    def waiting(self) -> int:
        """The number of lookups in Redis without an answer yet."""
        return self._open_lookups

    def __len__(self) -> int:
        return len(self._cache)

    def cached_status(self, jti: str, now: float) -> TokenStatus | None:
        """Return the status of the token `jti` if it is known without asking Redis, else `None`.

        While there is unread data it returns `None`: a token that was revoked before its caller asks is refused,
        however busy this process is.
        """
        if self._connection is not None and self._connection.has_unread:
            return None
        return self._cache.cached_status(jti, now)

    def clear(self) -> None:
        """Clear the cache, because ownership may have changed."""
        self._cache.invalidate_all()

    async def token_status(self, jti: str) -> TokenStatus:
        """Return the status of the token `jti`.

        Never raises for a failure of Redis: without an answer the status is UNKNOWN.
        """
        if self._connection is not None and self._connection.has_unread:
            await asyncio.sleep(0)  # the connection reads its data first
        now = self._clock()
        cached = self.cached_status(jti, now)
        if cached is not None:
            return cached
        try:
            async with asyncio.timeout(self._timeout):
                if self._connection is not None and self._cache.is_trusted(now):
                    answer = await self._look_up(self._connection, jti, now)
                    if answer is not None:
                        return answer
                return await self._look_up_directly(jti)
        except TimeoutError:
            return TokenStatus.UNKNOWN

    async def maintain_connection(self) -> Never:
        """Keep a tracking connection, for ever. Without it every check asks Redis, so no failure here is fatal."""
        backoff = Backoff(_RETRY_FIRST, _RETRY_LAST)
        is_unreported = True
        while True:
            connection = None
            try:
                connection = await open_tracking_connection(self.redis, self, bound=self._bound, clock=self._clock)
                self._connection = connection
                self.counts.connections += 1
                self._report(None)
                is_unreported = True
                backoff.reset()
                # Changes while there was no connection were not announced.
                self._changed(None)
                await connection.run()
            except (RedisError, OSError, TimeoutError) as error:
                if is_unreported:
                    # Not the message, which may contain an address.
                    self._report(known_cause(error) or type(error).__name__)
                is_unreported = False
            finally:
                self._connection = None
                self._cache.connection_lost()
                self._changed(None)
                if connection is not None:
                    await connection.close()
            await cancellable_sleep(backoff.delay)
            backoff.grow()

    def answered(self, sent_at: float) -> None:
        """Called by the connection: a heartbeat was answered."""
        self._cache.extend_trust(sent_at)

    def invalidated(self, keys: list[bytes] | None) -> None:
        """Called by the connection: these keys, or all, may have changed."""
        self.counts.invalidations += 1
        if keys is None:
            self._cache.invalidate_all()
        for key in keys or ():
            if key.startswith(_TOKEN_PREFIX):
                self._cache.invalidate(key.removeprefix(_TOKEN_PREFIX).decode())
        self._changed(keys)

    async def _look_up(self, connection: TrackingConnection, jti: str, now: float) -> TokenStatus | None:
        """Look up on the connection, or share an open lookup. `None` when the connection broke or was too slow."""
        lookup = self._cache.pending_lookup(jti)
        if lookup is None:
            if self._is_full():
                return TokenStatus.UNKNOWN
            lookup = self._cache.begin_lookup(jti, now, asyncio.get_running_loop().create_future())
            self._send(connection, lookup)
        else:
            self.counts.shared += 1
        # Shielded: a caller that gives up must not cancel the answer of the others.
        return await asyncio.shield(lookup.waiter)

    def _send(self, connection: TrackingConnection, lookup: Lookup[asyncio.Future[TokenStatus | None]]) -> None:
        def resolve(status: TokenStatus | None) -> None:
            self._open_lookups -= 1
            lookup.waiter.set_result(status)

        def answered(milliseconds: object) -> None:
            if isinstance(milliseconds, int):
                resolve(self._cache.complete(lookup, milliseconds, self._clock()))
            else:  # an error, for instance during a failover
                self._cache.remove_lookup(lookup)
                resolve(None)

        self._open_lookups += 1
        self.counts.misses += 1
        connection.send("PTTL", keyspace.token(lookup.jti), on_answer=answered, on_lost=lambda: resolve(None))

    async def _look_up_directly(self, jti: str) -> TokenStatus:
        lookup = self._direct_lookups.get(jti)
        if lookup is None:
            if self._is_full():
                return TokenStatus.UNKNOWN
            self._open_lookups += 1
            self.counts.misses += 1
            lookup = asyncio.create_task(self._direct.token_status(jti))
            self._direct_lookups[jti] = lookup
            lookup.add_done_callback(lambda _: self._direct_done(jti))
        else:
            self.counts.shared += 1
        return await asyncio.shield(lookup)

    def _direct_done(self, jti: str) -> None:
        self._open_lookups -= 1
        del self._direct_lookups[jti]

    def _is_full(self) -> bool:
        """Return whether so many lookups are open that one more would only delay all of them."""
        if self._open_lookups < self._concurrent:
            return False
        self.counts.refused += 1
        return True
