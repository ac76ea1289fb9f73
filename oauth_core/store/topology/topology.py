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
from oauth_core.store.topology.quorum import Claim, Quorum
from oauth_core.store.topology.sentinel import ask_sentinel, ask_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio import Redis

    from oauth_core.store.topology.quorum import Address
    from oauth_core.store.topology.sentinel import SentinelAnswer

T = TypeVar("T")

ASKED_IN_BOUND = 4
_ONLY: Address = ("", 0)


class RedisTopology(Protocol):
    """The servers that exist. `keep` runs for as long as the topology is used."""

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

    async def keep(self, changed: Callable[[], None]) -> Never:
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

    async def keep(self, changed: Callable[[], None]) -> Never:  # noqa: ARG002 - nothing ever changes
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
        self._quorum = Quorum(bound=bound, electors=frozenset(address for address, _ in sentinels))

    def owner(self, key: str) -> tuple[Address | None, float]:  # noqa: ARG002 - one for all
        """See `RedisTopology`."""
        return self._quorum.owner(0)

    @property
    def addresses(self) -> frozenset[Address]:
        """See `RedisTopology`."""
        return self._quorum.named

    @property
    def until(self) -> float:
        """See `RedisTopology`."""
        return self._quorum.owner(0)[1]

    def client(self, address: Address) -> Redis:
        """See `RedisTopology`."""
        return self._clients.of(address)

    async def keep(self, changed: Callable[[], None]) -> Never:
        """See `RedisTopology`."""
        async with asyncio.TaskGroup() as group:

            def keep_asking_at(
                address: Address, ask: Callable[[], Awaitable[T]], received: Callable[..., None]
            ) -> None:
                received = partial(received, changed, address)
                asked[address] = group.create_task(
                    keep_asking(ask, received, bound=self._bound, clock=self._clock)
                )

            asked: dict[Address, asyncio.Task[Never]] = {}
            for address, sentinel in self._sentinels:
                keep_asking_at(address, partial(ask_sentinel, sentinel, self._service), self._sentinel_answered)
            while True:
                wanted = self._quorum.named | {address for address, _ in self._sentinels}
                for address in asked.keys() - wanted:
                    asked.pop(address).cancel()
                for address in wanted - asked.keys():
                    keep_asking_at(
                        address, partial(ask_server, self.client(address), address), self._server_answered
                    )
                await asyncio.sleep(self._bound / ASKED_IN_BOUND)

    async def aclose(self) -> None:
        """See `RedisTopology`."""
        await self._clients.aclose()
        for _, sentinel in self._sentinels:
            await sentinel.aclose()

    def _sentinel_answered(
        self, changed: Callable[[], None], sentinel: Address, answer: SentinelAnswer, sent_at: float
    ) -> None:
        self._quorum.are_at_least(answer.sentinels)
        if self._quorum.cast(sentinel, _claim(answer.primary), sent_at):
            changed()

    def _server_answered(
        self, changed: Callable[[], None], server: Address, answered: Address | None, sent_at: float
    ) -> None:
        if self._quorum.cast(server, _claim(answered), sent_at):
            changed()


def _claim(primary: Address | None) -> Claim:
    """Return the claim of a voter that names this primary, or none."""
    return Claim(((0, 0, primary),) if primary else ())


class Clients:
    """Clients of the servers, one for each, made when first asked for."""

    def __init__(self, connect: Callable[[Address], Redis]) -> None:
        self._connect = connect
        self._clients: dict[Address, Redis] = {}

    def of(self, address: Address) -> Redis:
        """Return the client of the server at `address`."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._connect(address)
        return client

    async def aclose(self) -> None:
        """Close all clients."""
        for client in self._clients.values():
            await client.aclose()


async def keep_asking(
    ask: Callable[[], Awaitable[T]],
    received: Callable[[T, float], None],
    *,
    bound: float,
    clock: Callable[[], float],
) -> Never:
    """Ask a voter at each heartbeat until cancelled. `received` gets each answer and the time of its question."""
    while True:
        sent_at = clock()
        try:
            async with asyncio.timeout(bound):
                answer = await ask()
        except (RedisError, OSError, TimeoutError):
            pass  # an unreachable voter does not count
        else:
            received(answer, sent_at)
        await cancellable_sleep(bound / ASKED_IN_BOUND)
