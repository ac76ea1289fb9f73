"""What this process believes of one Redis server: what it remembers while the tracking link is good, and else the
server itself.

The rules are in `oauth_core.store.client_cache.token_cache`; here is the input and output around them: the link is
kept, callers wait for shared answers, and without a link each question goes to Redis by another connection, with a
deadline.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

from redis.exceptions import RedisError

from oauth_core.policy.decision import TokenStatus
from oauth_core.store import keyspace
from oauth_core.store.client_cache.token_cache import TokenCache
from oauth_core.store.client_cache.token_status import RedisTokenStatus
from oauth_core.store.client_cache.tracking_connection import open_tracking_connection
from oauth_core.store.failures import known_cause
from oauth_core.store.topology.cancellable_sleep import rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis

    from oauth_core.store.client_cache.token_cache import Question
    from oauth_core.store.client_cache.tracking_connection import TrackingConnection

_TOKEN_PREFIX = keyspace.token("").encode()
_RETRY_FIRST = 0.02
_RETRY_LAST = 0.5


@dataclass(slots=True)
class CacheCounts:
    """What happened since the start."""

    misses: int = 0
    """Questions that were sent to Redis."""
    shared: int = 0
    """Callers that shared a question of another caller."""
    refused: int = 0
    """Callers that were told UNKNOWN because too many questions were under way."""
    invalidations: int = 0
    links: int = 0
    """Links that were opened; all but the first after one was lost."""


class ServerCache:
    """Tells what one server says, mostly without asking it. Run `keep` for as long as it is used."""

    def __init__(
        self,
        redis: Redis,
        *,
        timeout: float,
        bound: float,
        remembered: int,
        remembered_dead: int,
        concurrent: int,
        counts: CacheCounts,
        report: Callable[[str | None], None],
        changed: Callable[[list[bytes] | None], None],
        clock: Callable[[], float],
    ) -> None:
        """`timeout`, `bound` and the numbers are as in `ClientCache`; `counts` is added to, and `report` told when
        a link is made (`None`) and when there is none any more (the kind of error). `changed` is told of keys
        that may have changed, or that all may have (`None`).
        """
        self.counts = counts
        self.redis = redis
        self._timeout = timeout
        self._bound = bound
        self._concurrent = concurrent
        self._clock = clock
        self._cache: TokenCache[asyncio.Future[TokenStatus | None]] = TokenCache(
            bound=bound, size=remembered, dead_size=remembered_dead
        )
        self._connection: TrackingConnection | None = None
        self._under_way = 0
        # An answer that took longer than the bound may not be believed any more.
        self._deadline = min(timeout, bound)
        self._direct = RedisTokenStatus(redis, timeout=self._deadline)
        self._asked_directly: dict[str, asyncio.Task[TokenStatus]] = {}
        self._report = report
        self._changed = changed

    @property
    def connection(self) -> TrackingConnection | None:
        """The tracking link of this moment."""
        return self._connection

    @property
    def trusted_until(self) -> float:
        """Until when what is remembered counts."""
        return self._cache.trusted_until

    @property
    def waiting(self) -> int:
        """How many questions to Redis have no answer yet."""
        return self._under_way

    def __len__(self) -> int:
        return len(self._cache)

    def known(self, jti: str, now: float) -> TokenStatus | None:
        """What may be said of the token `jti` without asking Redis; `None` when it must be asked.

        Nothing may while there is news: a token that was revoked before its caller asks is refused, however busy
        this process is.
        """
        if self._connection is not None and self._connection.has_unread:
            return None
        return self._cache.known(jti, now)

    def forget(self) -> None:
        """Forget everything, since ownership may have changed."""
        self._cache.invalidate_all()

    async def of(self, jti: str) -> TokenStatus:
        """Whether the token `jti` is alive. Never raises for what Redis does: no answer is UNKNOWN."""
        if self._connection is not None and self._connection.has_unread:
            await asyncio.sleep(0)  # it is heard first
        now = self._clock()
        known = self.known(jti, now)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(self._timeout):
                if self._connection is not None and self._cache.is_trusted(now):
                    answer = await self._ask(self._connection, jti, now)
                    if answer is not None:
                        return answer
                return await self._ask_directly(jti)
        except TimeoutError:
            return TokenStatus.UNKNOWN

    async def keep(self) -> Never:
        """Keep a tracking link, for ever. Without it every check asks Redis, so nothing here is fatal."""
        pause = _RETRY_FIRST
        is_unreported = True
        while True:
            connection = None
            try:
                connection = await open_tracking_connection(self.redis, self, bound=self._bound, clock=self._clock)
                self._connection = connection
                self.counts.links += 1
                self._report(None)
                is_unreported, pause = True, _RETRY_FIRST
                # Whatever was published while there was no link went untold.
                self._changed(None)
                await connection.run()
            except (RedisError, OSError, TimeoutError) as error:
                if is_unreported:
                    # Not the message, which may repeat an address.
                    self._report(known_cause(error) or type(error).__name__)
                is_unreported = False
            finally:
                self._connection = None
                self._cache.lost()
                self._changed(None)
                if connection is not None:
                    await connection.close()
            await rest(pause)
            pause = min(pause * 2, _RETRY_LAST)

    def answered(self, sent_at: float) -> None:
        """For the link: a heartbeat was answered."""
        self._cache.answered(sent_at)

    def invalidated(self, keys: list[bytes] | None) -> None:
        """For the link: Redis says that these keys, or all, may have changed."""
        self.counts.invalidations += 1
        if keys is None:
            self._cache.invalidate_all()
        for key in keys or ():
            if key.startswith(_TOKEN_PREFIX):
                self._cache.invalidate(key.removeprefix(_TOKEN_PREFIX).decode())
        self._changed(keys)

    async def _ask(self, connection: TrackingConnection, jti: str, now: float) -> TokenStatus | None:
        """Ask on the link, or share a question that is under way. `None` when the link broke or was too slow."""
        question = self._cache.under_way(jti)
        if question is None:
            if self._is_full():
                return TokenStatus.UNKNOWN
            question = self._cache.ask(jti, now, asyncio.get_running_loop().create_future())
            self._send(connection, question)
        else:
            self.counts.shared += 1
        # Shielded: a caller that gives up must not take the others' answer along.
        return await asyncio.shield(question.waiter)

    def _send(
        self, connection: TrackingConnection, question: Question[asyncio.Future[TokenStatus | None]]
    ) -> None:
        def resolve(status: TokenStatus | None) -> None:
            self._under_way -= 1
            question.waiter.set_result(status)

        def answered(milliseconds: object) -> None:
            if isinstance(milliseconds, int):
                resolve(self._cache.learn(question, milliseconds, self._clock()))
            else:  # an error, for instance that a failover is under way
                self._cache.withdraw(question)
                resolve(None)

        self._under_way += 1
        self.counts.misses += 1
        connection.send("PTTL", keyspace.token(question.jti), on_answer=answered, on_lost=lambda: resolve(None))

    async def _ask_directly(self, jti: str) -> TokenStatus:
        asking = self._asked_directly.get(jti)
        if asking is None:
            if self._is_full():
                return TokenStatus.UNKNOWN
            self._under_way += 1
            self.counts.misses += 1
            asking = asyncio.create_task(self._direct.of(jti))
            self._asked_directly[jti] = asking
            asking.add_done_callback(lambda _: self._direct_done(jti))
        else:
            self.counts.shared += 1
        return await asyncio.shield(asking)

    def _direct_done(self, jti: str) -> None:
        self._under_way -= 1
        del self._asked_directly[jti]

    def _is_full(self) -> bool:
        """Whether so many questions are under way that one more would only make all of them late."""
        if self._under_way < self._concurrent:
            return False
        self.counts.refused += 1
        return True
