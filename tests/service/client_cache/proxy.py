"""Proxies that can delay, drop or cut the data of a connection, in each direction."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class Way:
    """One direction of one connection."""

    delay: float = 0.0
    is_swallowing: bool = False


@dataclass(eq=False)
class Connection:
    """One connection through the proxy.

    A dropped direction is not visible to its ends: the connection is half-open.
    """

    to_redis: Way = field(default_factory=Way)
    to_client: Way = field(default_factory=Way)


class Proxy:
    """Forward to the target of `connect`. Changes of `connections` take effect at once."""

    def __init__(self, connect: Callable[[], Awaitable[Streams]]) -> None:
        self.connections: list[Connection] = []
        self.delay = 0.0
        self.is_swallowing = False
        self._connect = connect
        self._tasks: set[asyncio.Task[None]] = set()

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection in both directions until either end closes."""
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: writer.close())  # also if it was stopped before it began

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(Way(self.delay, self.is_swallowing), Way(self.delay, self.is_swallowing))
        self.connections.append(connection)
        far_writer = None
        try:
            far_reader, far_writer = await self._connect()
            ways = [
                asyncio.create_task(self._pass_on(reader, far_writer, connection.to_redis)),
                asyncio.create_task(self._pass_on(far_reader, writer, connection.to_client)),
            ]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:
            pass
        finally:
            self.connections.remove(connection)
            ends = [end for end in (writer, far_writer) if end is not None]
            for end in ends:  # stop all of them first, because the wait may be cancelled
                end.close()
            for end in ends:
                with suppress(OSError):
                    await end.wait_closed()

    async def stop(self) -> None:
        """Cut everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way) -> None:
        """Forward in order. Each piece is delayed by the delay of `way`, however many pieces are on their way."""
        clock = asyncio.get_running_loop().time
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def receive() -> None:
            with suppress(OSError):
                while data := await reader.read(65536):
                    pieces.put_nowait((clock() + way.delay, data))
            pieces.put_nowait((0.0, b""))

        receiving = asyncio.create_task(receive())
        try:
            while (piece := await pieces.get())[1]:
                due, data = piece
                if due > clock():
                    await asyncio.sleep(due - clock())
                if not way.is_swallowing:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)


@asynccontextmanager
async def bad_connection(target: Path) -> AsyncIterator[tuple[Proxy, Path]]:
    """A proxy to the socket `target`, and the socket to use instead."""
    with TemporaryDirectory(prefix="proxy-") as folder:
        path = Path(folder) / "proxy.sock"
        proxy = Proxy(partial(asyncio.open_unix_connection, str(target)))
        server = await asyncio.start_unix_server(proxy.accept, str(path))
        try:
            yield proxy, path
        finally:
            server.close()
            await proxy.stop()


@asynccontextmanager
async def bad_connections(ports: Iterable[int]) -> AsyncIterator[dict[int, Proxy]]:
    """A proxy before each of these loopback ports, by port.

    Connections of this process inside the block go through the proxies, although the servers announce their own
    addresses.
    """
    straight = asyncio.open_connection
    proxies = {port: Proxy(partial(straight, "127.0.0.1", port)) for port in ports}
    servers = {port: await asyncio.start_server(proxy.accept, "127.0.0.1", 0) for port, proxy in proxies.items()}

    async def detour(host: str, port: int, **options: Any) -> Streams:
        server = servers.get(port)
        return await straight(host, server.sockets[0].getsockname()[1] if server else port, **options)

    try:
        with patch.object(asyncio, "open_connection", detour):
            yield proxies
    finally:
        for port, server in servers.items():
            server.close()
            await proxies[port].stop()
