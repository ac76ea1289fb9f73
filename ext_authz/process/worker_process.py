"""One worker in its parent process: it is started, becomes ready, sends heartbeats, and ends."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from ext_authz.process.parent_connection import (
    DRAIN,
    HEARTBEAT,
    HEARTBEAT_SECONDS,
    NUMBER_VARIABLE,
    READY,
    SOCKET_VARIABLE,
)
from oauth_core.process.child_process import ChildProcess
from oauth_core.process.process_template import TemplateGoneError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.net.listen_addresses import ListenAddress
    from oauth_core.process.metrics import Figures
    from oauth_core.process.process_template import ProcessTemplate

START_SECONDS = 30.0
WRONG_SETTINGS = 2
"""Exit code of a worker for which another start cannot help."""

_KILL_MARGIN_SECONDS = 2.0
_READ = 65536


class WorkerStarter:
    """Makes the processes of workers: forks of a template, or new interpreters where there is no template."""

    def __init__(self, environ: Mapping[str, str], template: ProcessTemplate | None) -> None:
        """The template belongs to this object from now on, and has the environment `environ`."""
        self._environ = environ
        self._template = template

    async def start(self, number: int, address: ListenAddress, end: int) -> ChildProcess:
        """Start worker `number`, with its `end` of the connection to this process. Raises `OSError`."""
        variables = {NUMBER_VARIABLE: str(number)}
        if self._template is not None:
            try:
                await self._template.wait_until_loaded()
                pid = self._template.start((str(address),), variables, end, SOCKET_VARIABLE)
                return ChildProcess.of_template(pid)
            except TemplateGoneError as error:
                structlog.get_logger("workers").warning("workers.template_gone", reason=str(error))
                self.close()
        return await ChildProcess.start(
            (sys.executable, "-P", "-m", "ext_authz.process.worker", str(address)),
            {**self._environ, **variables, SOCKET_VARIABLE: str(end)},
            descriptors=(end,),
        )

    def close(self) -> None:
        """End the template, if there is one. Workers stay."""
        if self._template is not None:
            self._template.close()
            self._template = None


class WorkerProcess:
    """A started worker. `ended` has its exit code once it has ended."""

    def __init__(self, process: ChildProcess, end: socket.socket, drain_seconds: float) -> None:
        self.pid = process.pid
        self.ended = process.ended
        self.hung = False
        self.figures: Figures = {}
        """Its figures, as of its last heartbeat."""
        self._process = process
        self._end = end
        self._drain_seconds = drain_seconds
        self._ready = asyncio.Event()
        self._silent_ticks = 0
        self._listening = asyncio.create_task(self._listen())
        self._watching: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls, starter: WorkerStarter, number: int, address: ListenAddress, drain_seconds: float
    ) -> WorkerProcess:
        """Start worker `number`, to listen on `address`. It is not ready yet. Raises `OSError`.

        `end` gives it `drain_seconds` to finish open calls.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)  # noqa: FBT003 - the standard library's spelling
        try:
            process = await starter.start(number, address, theirs.fileno())
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, drain_seconds)

    async def wait_until_ready(self, hang_seconds: float) -> bool:
        """Return whether it became ready; if so, it is killed from now on when it is silent for `hang_seconds`."""
        ready = asyncio.create_task(self._ready.wait())
        try:
            await asyncio.wait((ready, self.ended), timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if not self._ready.is_set() or self.ended.done():
            await self.kill()
            return False
        self._watching = asyncio.create_task(self._watch(hang_seconds))
        return True

    async def end(self) -> None:
        """Ask it to drain and end; kills it when it takes longer than `drain_seconds`."""
        with suppress(OSError):
            self._end.send(DRAIN)
        await asyncio.wait((self.ended,), timeout=self._drain_seconds + _KILL_MARGIN_SECONDS)
        await self.kill()

    async def kill(self) -> None:
        """End it at once, if it has not ended, and stop reading from it."""
        await self._process.kill()
        tasks = [task for task in (self._listening, self._watching) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._end.close()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        rest = b""
        with suppress(OSError):
            while words := await loop.sock_recv(self._end, _READ):
                self._silent_ticks = 0
                *lines, rest = (rest + words).split(b"\n")
                for line in lines:
                    if line == READY:
                        self._ready.set()
                if lines and lines[-1].startswith(HEARTBEAT + b"{"):
                    self.figures = json.loads(lines[-1][len(HEARTBEAT) :])

    async def _watch(self, hang_seconds: float) -> None:
        """Kill it when it is silent.

        Silence counts in ticks of this process, so that a sleep of the machine is no hang.
        """
        while self._silent_ticks * HEARTBEAT_SECONDS <= hang_seconds:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            self._silent_ticks += 1
        self.hung = True
        await self._process.kill()
