"""A simulation of servers, Sentinels and the network between them and one process, with a simulated clock.

The simulated process runs the real code, from `ClientCache` and `Sentinels` down to the connection. This module
has the other ends of its connections. No code waits for real time: the event loop uses the simulated clock, which
the test moves.
"""

from __future__ import annotations

import asyncio
import selectors
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from redis.exceptions import ConnectionError as RedisConnectionError

from oauth_core.store.topology.quorum import SLOTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.store.topology.quorum import Address

Line = Literal["prompt", "late requests", "late answers", "dark"]
"""The state of the network to one place. `dark` loses everything, without an error at either end."""

_ROUNDS = 20


class _Impatient(selectors.DefaultSelector):
    def select(self, timeout: float | None = None) -> Any:  # noqa: ARG002 - there is no time to wait
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is `now`, in seconds. It changes only when a test assigns to it."""

    def __init__(self) -> None:
        super().__init__(_Impatient())
        self.now = 0.0

    def time(self) -> float:
        """See `AbstractEventLoop`."""
        return self.now

    def settle(self) -> None:
        """Run all tasks until each one waits for time or for an answer."""
        self.run_until_complete(_go_round())


async def _go_round() -> None:
    for _ in range(_ROUNDS):
        await asyncio.sleep(0)


@dataclass
class Answer:
    """A message on its way to the process. `is_push` is true if it answers no request."""

    arrive: Callable[[], None]
    is_push: bool = False


@dataclass(eq=False)
class Place:
    """The program at an address, with the messages on their way. `opinion` is the primary that it names."""

    address: Address
    line: Line = "prompt"
    opinion: Address | None = None
    requests: list[tuple[Callable[[], Any], Callable[[Any], None]]] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    def call(self, work: Callable[[], Any]) -> Awaitable[Any]:
        """Send a request that runs `work` there. The future gets the result when the answer arrives."""
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def arrive(value: Any) -> None:
            if not result.done():
                result.set_result(value)

        self.requests.append((work, arrive))
        return result

    def flow(self) -> bool:
        """Deliver the messages that the line lets through. Return whether there were any."""
        if self.line == "dark":
            self.requests.clear()
            self.answers.clear()
            return False
        moved = False
        while self.requests and self.line != "late requests":
            self.serve_one()
            moved = True
        while self.answers and self.line == "prompt":
            self.answers.pop(0).arrive()
            moved = True
        return moved

    def serve_one(self) -> None:
        """Serve the oldest request."""
        work, arrive = self.requests.pop(0)
        value = work()
        self.answers.append(Answer(lambda: arrive(value)))


@dataclass(eq=False)
class SentinelPlace(Place):
    """A Sentinel."""

    def client(self, others: int) -> Any:
        """The client with which `Sentinels` asks. This Sentinel reports `others` other Sentinels."""

        async def execute_command(*command: str) -> Any:
            if command[1] == "MASTER":
                return await self.call(lambda: {"num-other-sentinels": others})
            return await self.call(lambda: self.opinion)

        return SimpleNamespace(execute_command=execute_command, aclose=_nothing)


@dataclass(eq=False)
class Server(Place):
    """A Redis. `keys` are those that exist there, `others` the primaries of other slots, if it is in a cluster."""

    is_primary: bool = False
    others: tuple[Address, ...] = ()
    keys: set[str] = field(default_factory=set)
    tracking: dict[Wire, set[str]] = field(default_factory=dict)
    wires: set[Wire] = field(default_factory=set)
    has_swallowed: bool = False

    def client(self) -> Any:
        """A client of this server alone, as far as the cache uses one."""

        async def execute_command(*command: str) -> Any:
            if command == ("CLUSTER", "SLOTS"):
                return await self.call(self._slots)
            assert command == ("ROLE",)
            return await self.call(lambda: ["master" if self.is_primary else "slave"])

        async def exists(key: str) -> Any:
            return await self.call(lambda: int(key in self.keys))

        pool = SimpleNamespace(connection_class=Wire, connection_kwargs={"server": self})
        return SimpleNamespace(
            execute_command=execute_command, exists=exists, connection_pool=pool, aclose=_nothing
        )

    def change(self, key: str, *, exists: bool) -> None:
        """Write or delete a key, and send one push to each tracking connection that has read it."""
        (self.keys.add if exists else self.keys.discard)(key)
        for wire, noted in self.tracking.items():
            if key in noted:
                noted.remove(key)
                self._push(wire, [key.encode()])

    def become_like(self, other: Server) -> None:
        """Replace the data by that of `other`."""
        self.keys = set(other.keys)
        for wire, noted in self.tracking.items():
            noted.clear()
            self._push(wire, None)

    def cut(self) -> None:
        """Close every connection from this end."""
        for wire in self.wires:
            wire.inbox.put_nowait(RedisConnectionError("closed"))
        self.wires.clear()
        self.tracking.clear()

    def flow(self) -> bool:
        """See `Place`. A connection that lost data ends: TCP does not lose data in the middle."""
        if self.line == "dark":
            self.has_swallowed = self.has_swallowed or bool(self.requests or self.answers)
        elif self.has_swallowed:
            self.has_swallowed = False
            self.cut()
            return True
        return super().flow()

    def execute(self, wire: Wire, command: tuple[str, ...]) -> Any:
        """One command on a connection."""
        match command:
            case ("CLIENT", "TRACKING", "ON"):
                self.tracking[wire] = set()
                return b"OK"
            case ("PTTL", key):
                if wire in self.tracking:
                    self.tracking[wire].add(key)
                return -1 if key in self.keys else -2
            case _:
                return b"PONG"

    def _slots(self) -> list[Any]:
        """All slots but the last are in question. Each of the other primaries has one of those."""
        rest = SLOTS - len(self.others)
        return [[0, rest - 1, self.opinion], *([rest + n, rest + n, other] for n, other in enumerate(self.others))]

    def _push(self, wire: Wire, keys: list[bytes] | None) -> None:
        self.answers.append(Answer(lambda: wire.inbox.put_nowait(["invalidate", keys]), is_push=True))


class Wire:
    """A connection as `open_connection` and `Connection` use one of redis-py."""

    def __init__(self, *, server: Server, **_options: Any) -> None:
        self.server = server
        self.inbox: asyncio.Queue[Any] = asyncio.Queue()
        self.is_connected = False
        server.wires.add(self)
        self._handler: Callable[[list[Any]], Awaitable[Any]] | None = None

    async def connect(self) -> None:
        """Reach the server, which may never happen."""
        await self.server.call(lambda: None)
        self.is_connected = True

    async def disconnect(self, *, nowait: bool) -> None:
        """Close this end."""
        assert nowait
        self.is_connected = False
        self.server.wires.discard(self)
        self.server.tracking.pop(self, None)

    @property
    def _reader(self) -> Wire:
        return self

    @property
    def _buffer(self) -> bool:
        """Whether data has arrived that was not read yet."""
        return not self.inbox.empty()

    def pack_command(self, *command: str) -> list[tuple[str, ...]]:
        """Return the commands as they are."""
        return [command]

    async def send_command(self, *command: str, check_health: bool) -> None:
        """Send one."""
        await self.send_packed_command([command], check_health=check_health)

    async def send_packed_command(self, packed: list[tuple[str, ...]], *, check_health: bool) -> None:
        """Send several."""
        assert not check_health
        for command in packed:
            self.server.requests.append((_work(self, command), self.inbox.put_nowait))

    async def read_response(self, **_options: Any) -> Any:
        """The next thing that arrives."""
        item = await self.inbox.get()
        if isinstance(item, Exception):
            raise item
        if isinstance(item, list):
            assert self._handler is not None
            return await self._handler(item)
        return item

    def _get_parser(self) -> Wire:
        return self

    def set_invalidation_push_handler(self, handler: Callable[[list[Any]], Awaitable[Any]]) -> None:
        """For `open_connection`: the handler that makes an item of a push."""
        self._handler = handler


def _work(wire: Wire, command: tuple[str, ...]) -> Callable[[], Any]:
    return lambda: wire.server.execute(wire, command)


async def _nothing() -> None:
    """There is nothing to close."""
