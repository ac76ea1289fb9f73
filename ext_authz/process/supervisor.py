"""The parent: as many workers as configured, each replaced when it dies, hangs or is due for a restart.

Except after a death, the replacement is ready before the old worker ends. The two share a TCP port for that
moment. A Unix socket is bound under another name and then renamed over the old one, so that there is a
listening socket at every instant.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
from functools import partial
from typing import TYPE_CHECKING

import structlog

from ext_authz.metrics import page
from ext_authz.metrics.collector import Collector
from ext_authz.net.listen_addresses import check_free, of_worker
from ext_authz.process.cores import usable_cores
from ext_authz.process.parent_connection import WRITER
from ext_authz.process.worker_process import WorkerProcess
from oauth_core.audit import AuditRecorder, EventKind
from oauth_core.errors import SettingsError
from oauth_core.net.listen_addresses import ListenAddress, UnixAddress
from oauth_core.process import certificate_ends
from oauth_core.process.audit_figures import AuditFolder
from oauth_core.process.audit_output import open_output
from oauth_core.process.backoff import Backoff
from oauth_core.process.file_figures import FileFigures
from oauth_core.process.supervision import Keeper, NotStartedError, Watch
from oauth_core.settings import AuthzSettings, load

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ext_authz.process.worker_process import WorkerStarter


_FIRST_BACKOFF = 0.1
_LONGEST_BACKOFF = 10.0
_STABLE_SECONDS = 30.0
"""Seconds after which a worker gets a quick replacement again."""

_ACCEPT_SECONDS = 0.1
"""Seconds in which connections to the old socket, just before its replacement, are accepted."""


class StartError(NotStartedError):
    """A worker does not start. `code` is its exit code, and the worker has logged the reason.

    `code` is `None` if this process could not make the worker, or could not give it its socket.
    """

    def __init__(self, why: str, code: int | None = None) -> None:
        super().__init__(why)
        self.code = code


class Supervisor:
    """All workers of one check service."""

    def __init__(self, settings: AuthzSettings, environ: Mapping[str, str], starter: WorkerStarter) -> None:
        """The workers get `environ`, and read the settings from it again. `starter` makes their processes.

        Raises `SettingsError` or `ListenError` when the settings cannot work here.
        """
        self._settings = settings
        self._environ = environ
        count = settings.authz_workers or max(usable_cores(), len(settings.authz_listen))
        self._addresses = [of_worker(settings.authz_listen, number) for number in range(count)]
        for address in dict.fromkeys(self._addresses):
            check_free(address)
        self._audit = open_output(settings, WRITER)
        self._stopping = asyncio.Event()
        self._collector = Collector(_files(settings))
        generations = itertools.count(1)
        self._keepers = [
            _WorkerKeeper(
                number,
                address,
                settings=settings,
                starter=starter,
                collector=self._collector,
                generations=generations,
            )
            for number, address in enumerate(self._addresses)
        ]
        self._log = structlog.get_logger("workers")

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP replaces the workers one by one.

        Raises `StartError`, and `SupervisionError` when a task that keeps a worker running ends unexpectedly.
        """
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
            self._audit.close()

    async def _run_all(self) -> None:
        if not await self._start_first():
            return
        self._log.info(
            "server.listening",
            transport="grpcio" if self._settings.authz_transport == "grpcio" else "http2",
            workers=len(self._addresses),
            addresses=[str(address) for address in dict.fromkeys(self._addresses)],
        )
        watch = Watch()
        stopping = asyncio.create_task(self._stopping.wait())
        running = [asyncio.create_task(keeper.keep_running()) for keeper in self._keepers]
        for number, keeping in enumerate(running):
            watch.watch(keeping, f"worker {number}")
        try:
            await asyncio.wait((stopping, watch.broken), return_when=asyncio.FIRST_COMPLETED)
            if not stopping.done():
                watch.broken.result()
        finally:
            for task in (stopping, *running):
                task.cancel()
            await asyncio.gather(stopping, *running, return_exceptions=True)
            await asyncio.gather(*(keeper.end() for keeper in self._keepers), return_exceptions=True)
            watch.close()

    async def _start_first(self) -> bool:
        """Start the first worker alone, as a test; returns False when a stop is requested meanwhile."""
        starting = asyncio.create_task(self._keepers[0].launch_first())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
            return False
        starting.result()
        return True

    def _settings_are_good(self) -> bool:
        """Return whether a new worker could start. If not, the present workers stay, with their settings."""
        try:
            load(AuthzSettings, None, self._environ)
        except SettingsError as error:
            self._log.error("workers.not_replaced", faults=list(error.faults))
            AuditRecorder(self._audit).record(EventKind.POLICY_REFUSED, reason="; ".join(error.faults))
            return False
        return True

    async def _replace_all(self) -> None:
        self._log.info("workers.replacing")
        for keeper in self._keepers:
            await keeper.replace()
        self._log.info("workers.replaced")

    def _remove_sockets(self) -> None:
        for address in self._addresses:
            if isinstance(address, UnixAddress):
                address.path.unlink(missing_ok=True)


class _WorkerKeeper(Keeper[WorkerProcess]):
    """Starts, restarts and replaces the worker `number`, which listens on `place`."""

    def __init__(
        self,
        number: int,
        address: ListenAddress,
        *,
        settings: AuthzSettings,
        starter: WorkerStarter,
        collector: Collector,
        generations: Iterator[int],
    ) -> None:
        super().__init__(Backoff(_FIRST_BACKOFF, _LONGEST_BACKOFF), stable_seconds=_STABLE_SECONDS)
        self._number = number
        self._address = address
        self._settings = settings
        self._starter = starter
        self._collector = collector
        self._generations = generations
        self._log = structlog.get_logger("workers")

    async def launch(self) -> WorkerProcess:
        """Return a worker that is ready and has its address. Raises `StartError`."""
        try:
            worker = await self._launch()
        except OSError as error:  # no process, descriptor or memory is left, or the socket's folder is gone
            raise StartError(f"a worker could not be started: {error}") from None
        self._collector.add(self._number, worker)
        self._log.info("worker.ready", worker=self._number, pid=worker.pid, address=str(self._address))
        return worker

    async def _launch(self) -> WorkerProcess:
        address, startup_address = self._address, _startup_address(self._address, next(self._generations))
        worker = await WorkerProcess.start(
            self._starter, self._number, startup_address, self._settings.authz_drain_seconds
        )
        try:
            if not await worker.wait_until_ready(self._settings.authz_hang_seconds):
                code = worker.ended.result()
                raise StartError(f"a worker ended with exit code {code}", code)
            if isinstance(address, UnixAddress) and isinstance(startup_address, UnixAddress):
                startup_address.path.replace(address.path)
        except BaseException:
            await worker.kill()
            raise
        return worker

    def report_end(self, program: WorkerProcess, code: int, _delay: float) -> None:
        self._log.error(
            "worker.hung" if program.hung else "worker.died",
            worker=self._number,
            pid=program.pid,
            exit_code=code,
        )

    def report_failure(self, error: NotStartedError, delay: float) -> None:
        self._log.error(
            "worker.not_started", worker=self._number, reason=str(error), exit_code=_code(error), again_in=delay
        )

    def report_not_replaced(self, error: NotStartedError) -> None:
        self._log.error("worker.not_replaced", worker=self._number, reason=str(error), exit_code=_code(error))

    async def hand_over(self) -> None:
        await asyncio.sleep(_ACCEPT_SECONDS)


def _files(settings: AuthzSettings) -> FileFigures:
    """The figures of certificates and of the audit folder."""
    chains = {"check.tls_cert": settings.authz_tls_cert}
    authorities = {"check.tls_client_ca": settings.authz_tls_client_ca}
    readers = [partial(certificate_ends.figures, chains, authorities)]
    if settings.audit_dir is not None:
        return FileFigures(*readers, AuditFolder(settings.audit_dir).figures)
    return FileFigures(*readers)


def _code(error: NotStartedError) -> int | None:
    return error.code if isinstance(error, StartError) else None


def _startup_address(address: ListenAddress, generation: int) -> ListenAddress:
    if isinstance(address, UnixAddress):
        return UnixAddress(address.path.with_name(f"{address.path.name}~{generation % 1000}"))
    return address
