"""The topology: which Redis servers exist, and which of them counts for a key.

`oauth_core.store.topology.cluster` has the topology of a cluster. A topology asks its voters at the pace of the
heartbeat, each on its own connection; `oauth_core.store.topology.quorum` counts the answers.
`oauth_core.store.client_cache.token_cache` explains why a majority is needed.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Never, Protocol, TypeVar

from redis.exceptions import RedisError

from oauth_core.store.topology.cancellable_sleep import cancellable_sleep
from oauth_core.store.topology.quorum import OwnershipReport, Quorum
from oauth_core.store.topology.sentinel import ask_sentinel, ask_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from oauth_core.store.topology.quorum import Address
    from oauth_core.store.topology.sentinel import SentinelAnswer

T = TypeVar("T")

POLLS_IN_BOUND = 4
_ONLY: Address = ("", 0)


class RedisTopology(Protocol):
    """The servers that exist. `keep_current` runs for as long as the topology is used."""

    is_spread: bool
    """Whether keys are on different servers."""

    def owner(self, key: str) -> tuple[Address | None, float]:
        """Return the server that counts for `key`, and until when it does."""

    @property
    def addresses(self) -> frozenset[Address]:
        """Every server that may count."""

    @property
    def until(self) -> float:
        """The time until which it is certain which server counts, for any key."""

    def client(self, address: Address) -> Redis:
        """Return a client of that server alone."""

    async def keep_current(self, changed: Callable[[], None]) -> Never:
        """Keep the topology current; calls `changed` whenever another server may count for a key."""

    async def aclose(self) -> None:
        """Close every connection."""


class OneServer:
    """One server, which always counts."""

    is_spread = False
    addresses = frozenset({_ONLY})
    until = float("inf")

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._owner = (_ONLY, self.until)

    def owner(self, key: str) -> tuple[Address | None, float]:  # noqa: ARG002 - one for all
        """See `RedisTopology`."""
        return self._owner

    def client(self, address: Address) -> Redis:  # noqa: ARG002 - there is one
        """See `RedisTopology`."""
        return self._redis

    async def keep_current(self, changed: Callable[[], None]) -> Never:  # noqa: ARG002 - nothing ever changes
        """See `RedisTopology`."""
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")

    async def aclose(self) -> None:
        """See `RedisTopology`."""
        await self._redis.aclose()


class Sentinels:
    """One server counts: the primary by a majority of the Sentinels, if it reports that role itself."""

    is_spread = False

    def __init__(
        self,
        service: str,
        sentinels: Sequence[tuple[Address, Redis]],
        connect: Callable[[Address], Redis],
        *,
        bound: float,
        clock: Callable[[], float],
    ) -> None:
        """`service` is the Sentinels' name for the servers; `connect` makes a client of one of those."""
        self._service = service
        self._sentinels = sentinels
        self._clients = Clients(connect)
        self._bound = bound
        self._clock = clock
        self._quorum = Quorum(bound=bound, voters=frozenset(address for address, _ in sentinels))

    def owner(self, key: str) -> tuple[Address | None, float]:  # noqa: ARG002 - one for all
        """See `RedisTopology`."""
        return self._quorum.owner(0)

    @property
    def addresses(self) -> frozenset[Address]:
        """See `RedisTopology`."""
        return self._quorum.named_primaries

    @property
    def until(self) -> float:
        """See `RedisTopology`."""
        return self._quorum.owner(0)[1]

    def client(self, address: Address) -> Redis:
        """See `RedisTopology`."""
        return self._clients.client_at(address)

    async def keep_current(self, changed: Callable[[], None]) -> Never:
        """See `RedisTopology`."""
        async with asyncio.TaskGroup() as group:

            def start_polling(
                address: Address, ask: Callable[[], Awaitable[T]], received: Callable[..., None]
            ) -> None:
                received = partial(received, changed, address)
                polls[address] = group.create_task(poll_voter(ask, received, bound=self._bound, clock=self._clock))

            polls: dict[Address, asyncio.Task[Never]] = {}
            for address, sentinel in self._sentinels:
                start_polling(address, partial(ask_sentinel, sentinel, self._service), self._sentinel_answered)
            while True:
                wanted = self._quorum.named_primaries | {address for address, _ in self._sentinels}
                for address in polls.keys() - wanted:
                    polls.pop(address).cancel()
                for address in wanted - polls.keys():
                    start_polling(
                        address, partial(ask_server, self.client(address), address), self._server_answered
                    )
                await asyncio.sleep(self._bound / POLLS_IN_BOUND)

    async def aclose(self) -> None:
        """See `RedisTopology`."""
        await self._clients.aclose()
        for _, sentinel in self._sentinels:
            await sentinel.aclose()

    def _sentinel_answered(
        self, changed: Callable[[], None], sentinel: Address, answer: SentinelAnswer, sent_at: float
    ) -> None:
        self._quorum.set_minimum_voters(answer.sentinels)
        if self._quorum.record_report(sentinel, _report_of(answer.primary), sent_at):
            changed()

    def _server_answered(
        self, changed: Callable[[], None], server: Address, answered: Address | None, sent_at: float
    ) -> None:
        if self._quorum.record_report(server, _report_of(answered), sent_at):
            changed()


def _report_of(primary: Address | None) -> OwnershipReport:
    """Return the report of a voter that names this primary, or none."""
    return OwnershipReport(((0, 0, primary),) if primary else ())


class Clients:
    """Clients of the servers, one for each, made when first asked for."""

    def __init__(self, connect: Callable[[Address], Redis]) -> None:
        self._connect = connect
        self._clients: dict[Address, Redis] = {}

    def client_at(self, address: Address) -> Redis:
        """Return the client of the server at `address`."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._connect(address)
        return client

    async def aclose(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            await client.aclose()


async def poll_voter(
    ask: Callable[[], Awaitable[T]],
    received: Callable[[T, float], None],
    *,
    bound: float,
    clock: Callable[[], float],
) -> Never:
    """Ask a voter at each heartbeat until cancelled. `received` gets each answer and the time at which it was
    asked.
    """
    while True:
        sent_at = clock()
        try:
            async with asyncio.timeout(bound):
                answer = await ask()
        except (RedisError, OSError, TimeoutError):
            pass  # an unreachable voter does not count
        else:
            received(answer, sent_at)
        await cancellable_sleep(bound / POLLS_IN_BOUND)
