"""The servers of a Redis Cluster: the owners of slots, by a majority of the primaries and by the owner itself."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Never

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisError

from oauth_core.store.topology.quorum import OwnershipReport, Quorum
from oauth_core.store.topology.topology import POLLS_IN_BOUND, Clients, poll_voter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from oauth_core.store.topology.quorum import Address


class NodeClient(Redis):
    """A client of one node that follows one redirection: to the node with a key that is being moved."""

    follow: Callable[[Address], Redis] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """See `Redis.execute_command`."""
        try:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except AskError as error:  # and `MovedError`, a subclass
            if self.follow is None:
                raise
            other = self.follow((error.host, error.port))
            if isinstance(error, MovedError):
                return await Redis.execute_command(other, *args, **options)  # type: ignore[no-untyped-call]
            async with other.pipeline(transaction=False) as pipeline:
                pipeline.execute_command("ASKING")
                pipeline.execute_command(*args, **options)
                return (await pipeline.execute())[-1]


class ClusterNodes:
    """See `RedisTopology`."""

    is_spread = True

    def __init__(
        self,
        hosts: Sequence[Address],
        connect: Callable[[Address], NodeClient],
        *,
        bound: float,
        clock: Callable[[], float],
    ) -> None:
        """`hosts` are some nodes to start with; `connect` makes a client of one."""
        self._hosts = hosts
        self._connect = connect
        self._clients = Clients(self._following)
        self._bound = bound
        self._clock = clock
        self._quorum = Quorum(bound=bound)

    def owner(self, key: str) -> tuple[Address | None, float]:
        """See `RedisTopology`."""
        return self._quorum.owner(key_slot(key.encode()))

    @property
    def addresses(self) -> frozenset[Address]:
        """See `RedisTopology`."""
        return self._quorum.named_primaries

    @property
    def until(self) -> float:
        """See `RedisTopology`."""
        return self._quorum.until

    def client(self, address: Address) -> Redis:
        """See `RedisTopology`."""
        return self._clients.client_at(address)

    async def keep_current(self, changed: Callable[[], None]) -> Never:
        """See `RedisTopology`."""
        voters: dict[Address, asyncio.Task[Never]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                wanted = self._quorum.named_primaries
                if self._clock() >= self._quorum.until:
                    # Without an agreement of the primaries, any node may list them.
                    wanted |= await self._discovered()
                for address in voters.keys() - wanted:
                    voters.pop(address).cancel()
                for address in wanted - voters.keys():
                    ask, received = partial(self._ask, address), partial(self._received, changed, address)
                    asking = poll_voter(ask, received, bound=self._bound, clock=self._clock)
                    voters[address] = group.create_task(asking)
                await asyncio.sleep(self._bound / POLLS_IN_BOUND)

    async def aclose(self) -> None:
        """See `RedisTopology`."""
        await self._clients.aclose()

    def _following(self, address: Address) -> Redis:
        client = self._connect(address)
        client.follow = self._clients.client_at
        return client

    async def _discovered(self) -> frozenset[Address]:
        """Return the primaries by the first node that answers. This is no vote."""
        for host in self._hosts:
            try:
                async with asyncio.timeout(self._bound):
                    report = await self._ask(host)
            except (RedisError, OSError, TimeoutError):
                continue
            if report.owners:
                return report.owners
        return frozenset()

    async def _ask(self, address: Address) -> OwnershipReport:
        client: Any = self._clients.client_at(address)
        # As two words, so that the answer comes as Redis gives it: first and last slot, the primary, its replicas.
        slots = await client.execute_command("CLUSTER", "SLOTS")
        # A node that does not know its own address leaves it out: it is the address that was asked.
        return OwnershipReport(
            tuple(
                sorted(
                    (int(first), int(last), (str(primary[0] or address[0]), int(primary[1])))
                    for first, last, primary, *_ in slots
                )
            )
        )

    def _received(
        self, changed: Callable[[], None], voter: Address, report: OwnershipReport, sent_at: float
    ) -> None:
        if self._quorum.record_report(voter, report, sent_at):
            changed()
