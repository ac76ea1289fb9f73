"""The parent: as many workers as asked for, each replaced when it dies, hangs or is due for a restart.

But for one that died, a worker is replaced by one that is ready already. They share a TCP port for that moment. A
Unix socket is bound under a name of its own and then renamed over the old one, so that there is a listening socket
at every instant.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import structlog

from ext_authz.metrics import page
from ext_authz.metrics.collector import Collector
from ext_authz.net.listen_addresses import Address, UnixAddress, check_free, of_worker
from ext_authz.process.cores import usable_cores
from ext_authz.process.worker_process import WorkerProcess
from oauth_core.audit import AuditRecorder, EventKind
from oauth_core.errors import SettingsError
from oauth_core.process.logs import LogAuditSink
from oauth_core.settings import AuthzSettings, load

if TYPE_CHECKING:
    from collections.abc import Mapping


_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 10.0
_CALM_SECONDS = 30.0
"""A worker that lived this long has earned a quick replacement again."""

_ACCEPT_SECONDS = 0.1
"""For connections that found the old socket just before it was replaced, to be accepted."""


class StartError(Exception):
    """The workers cannot start. `code` is the exit code; the worker has told why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"a worker ended with exit code {code}")
        self.code = code


class Supervisor:
    """All workers of one check service."""

    def __init__(self, settings: AuthzSettings, environ: Mapping[str, str]) -> None:
        """The workers get this environment, and read the settings from it again.

        Raises `SettingsError` or `ListenError` when the settings cannot work here.
        """
        self._settings = settings
        self._environ = environ
        count = settings.authz_workers or max(usable_cores(), len(settings.authz_listen))
        self._addresses = [of_worker(settings.authz_listen, number) for number in range(count)]
        for address in dict.fromkeys(self._addresses):
            check_free(address)
        self._stopping = asyncio.Event()
        self._restarts: list[asyncio.Queue[asyncio.Event]] = [asyncio.Queue() for _ in self._addresses]
        self._generation = 0
        self._collector = Collector()
        self._log = structlog.get_logger("workers")

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP replaces the workers one by one. Raises `StartError`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        rolling: set[asyncio.Task[None]] = set()

        def roll() -> None:
            if not self._settings_are_good():
                return
            task = asyncio.create_task(self._replace_all())
            rolling.add(task)
            task.add_done_callback(rolling.discard)

        loop.add_signal_handler(signal.SIGHUP, roll)
        try:
            async with page.serving(self._settings.metrics_listen, self._collector.page):
                await self._run_all()
        finally:
            for task in rolling:
                task.cancel()
            self._remove_sockets()

    async def _run_all(self) -> None:
        first = await self._first()
        if first is None:
            return
        self._log.info(
            "server.listening",
            transport="grpcio" if self._settings.authz_transport == "grpcio" else "http2",
            workers=len(self._addresses),
            addresses=[str(address) for address in dict.fromkeys(self._addresses)],
        )
        tasks = [
            asyncio.create_task(self._keep(number, first if number == 0 else None))
            for number in range(len(self._addresses))
        ]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _first(self) -> WorkerProcess | None:
        """The first worker alone, to find out whether it works at all; `None` when told to stop meanwhile."""
        starting = asyncio.create_task(self._start(0))
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return None
        worker, code = starting.result()
        if worker is None:
            raise StartError(code)
        return worker

    async def _keep(self, number: int, worker: WorkerProcess | None) -> None:
        """Have a worker with this number until told to stop."""
        loop = asyncio.get_running_loop()
        stopping = asyncio.create_task(self._stopping.wait())
        restart = asyncio.create_task(self._restarts[number].get())
        backoff, born = _FIRST_BACKOFF, loop.time()
        try:
            while not stopping.done():
                if worker is None:
                    worker, code = await self._start(number)
                    born = loop.time()
                    if worker is None:
                        self._log.error("worker.not_started", worker=number, exit_code=code, again_in=backoff)
                        await asyncio.wait((stopping,), timeout=backoff)
                        backoff = min(backoff * 2, _LONGEST_BACKOFF)
                        continue
                await asyncio.wait((worker.ended, stopping, restart), return_when=asyncio.FIRST_COMPLETED)
                if worker.ended.done():
                    self._log.error(
                        "worker.hung" if worker.hung else "worker.died",
                        worker=number,
                        pid=worker.pid,
                        exit_code=worker.ended.result(),
                    )
                    await worker.kill()
                    worker = None
                    if loop.time() - born >= _CALM_SECONDS:
                        backoff = _FIRST_BACKOFF
                    await asyncio.wait((stopping,), timeout=backoff)
                    backoff = min(backoff * 2, _LONGEST_BACKOFF)
                elif restart.done() and not stopping.done():
                    done = restart.result()
                    worker, born = await self._replace(number, worker), loop.time()
                    restart = asyncio.create_task(self._restarts[number].get())
                    done.set()
        finally:
            for task in (stopping, restart):
                task.cancel()
            if worker is not None:
                await worker.drain(self._settings.authz_drain_seconds)

    async def _replace(self, number: int, old: WorkerProcess) -> WorkerProcess:
        fresh, code = await self._start(number)
        if fresh is None:
            self._log.error("worker.not_replaced", worker=number, exit_code=code)
            return old
        await asyncio.sleep(_ACCEPT_SECONDS)
        await old.drain(self._settings.authz_drain_seconds)
        return fresh

    def _settings_are_good(self) -> bool:
        """Whether a fresh worker could start. If not, the ones there are stay, with what they know."""
        try:
            load(AuthzSettings, None, self._environ)
        except SettingsError as error:
            self._log.error("workers.not_replaced", faults=list(error.faults))
            AuditRecorder(LogAuditSink()).record(EventKind.POLICY_REFUSED, reason="; ".join(error.faults))
            return False
        return True

    async def _replace_all(self) -> None:
        self._log.info("workers.replacing")
        for requests in self._restarts:
            done = asyncio.Event()
            requests.put_nowait(done)
            await done.wait()
        self._log.info("workers.replaced")

    async def _start(self, number: int) -> tuple[WorkerProcess | None, int]:
        """A worker that is ready and in its place; or `None` and the exit code of the one that would not."""
        self._generation += 1
        place = self._addresses[number]
        birthplace = _birthplace(place, self._generation)
        worker = await WorkerProcess.start(birthplace, self._environ)
        try:
            if not await worker.wait_until_ready(self._settings.authz_hang_seconds):
                return None, worker.ended.result()
            if isinstance(place, UnixAddress) and isinstance(birthplace, UnixAddress):
                birthplace.path.replace(place.path)
        except BaseException:
            await worker.kill()
            raise
        self._collector.add(number, worker)
        self._log.info("worker.ready", worker=number, pid=worker.pid, address=str(place))
        return worker, 0

    def _remove_sockets(self) -> None:
        for address in self._addresses:
            if isinstance(address, UnixAddress):
                address.path.unlink(missing_ok=True)


def _birthplace(place: Address, generation: int) -> Address:
    if isinstance(place, UnixAddress):
        return UnixAddress(place.path.with_name(f"{place.path.name}~{generation % 1000}"))
    return place
