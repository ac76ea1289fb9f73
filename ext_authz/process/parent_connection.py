"""A worker's connection to its parent process.

The worker sends lines: that it is ready, and heartbeats from its event loop with the worker's figures. The parent
sends the request to drain. When the other end closes, the parent is gone, and the worker must end too.
"""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from oauth_core.process.metrics import Figures


SOCKET_VARIABLE = "PORTCULLIS_WORKER_SOCKET"
"""The environment variable with the number of the worker's end of the socket."""

NUMBER_VARIABLE = "PORTCULLIS_WORKER_NUMBER"
"""The environment variable with the number of the worker, from 0. A replacement has the same one."""

WRITER = "ext_authz"
"""The writer of the parent in the audit record; a worker is this, a dot and its number."""

READY = b"R"
HEARTBEAT = b"."
DRAIN = b"D"
HEARTBEAT_SECONDS = 0.5


class ParentConnection:
    """The worker's end. Belongs to one event loop."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)  # noqa: FBT003 - the standard library's spelling
        self._end = end
        self._one_at_a_time = asyncio.Lock()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ParentConnection:
        """The worker's end of the socket pair, which it inherits from its parent; `environ` has its descriptor."""
        return cls(socket.socket(fileno=int(environ[SOCKET_VARIABLE])))

    async def ready(self) -> None:
        """Report that this worker answers calls."""
        await self._send(READY)

    async def send_heartbeats(self, figures: Callable[[], Figures] | None = None) -> None:
        """Send heartbeats until cancelled, with the figures, if there are any."""
        while True:
            await self._send(HEARTBEAT + (json.dumps(figures()).encode() if figures else b""))
            await asyncio.sleep(HEARTBEAT_SECONDS)

    async def drain_requested(self) -> None:
        """Return when the parent asks to drain, or is gone."""
        with suppress(ConnectionError):
            await asyncio.get_running_loop().sock_recv(self._end, 1)

    def close(self) -> None:
        """Close the connection."""
        self._end.close()

    async def _send(self, line: bytes) -> None:
        # While the parent is frozen the lines pile up; it will find old heartbeats in them.
        with suppress(ConnectionError):
            async with self._one_at_a_time:
                await asyncio.get_running_loop().sock_sendall(self._end, line + b"\n")
