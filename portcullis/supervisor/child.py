"""One child process: started, probed until it is ready, restarted when it dies, and stopped at the end."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from oauth_core.process import private_files
from oauth_core.process.backoff import Backoff
from oauth_core.process.child_process import ChildProcess
from oauth_core.process.supervision import Keeper, NotStartedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from portcullis.supervisor.probes import Probe

_LAST_LINES = 12
_LAST_BYTES = 8192
_WRONG_SETTINGS = 2


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """The description of a child: its name, command, complete environment, and readiness probe.

    The gateway needs each `essential` child; without another one, only its service is missing.
    `sockets` are removed before each start: a process that died cannot do it. `follows_log`: it opens its log file
    again after a rename.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    probe: Probe
    essential: bool = True
    sockets: tuple[Path, ...] = ()
    follows_log: bool = False


@dataclass(frozen=True, slots=True)
class Timing:
    """Timeouts and intervals, in seconds. Tests use shorter ones."""

    start: float = 30.0
    slow_start: float = 300.0
    """As `start`, for a child that is not essential: a first run of `npx` downloads its program."""
    wait: float = 15.0
    """How long the others wait for a child that is not essential."""
    probe_again: float = 0.1
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    stable_seconds: float = 60.0
    """After this time without an end, the next restart uses `first_backoff` again."""
    stop: float = 8.0


class Event(Enum):
    """The kinds of reports about a child. Each report has a text too."""

    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    FAILED = "failed"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Failure:
    """A failed start. `wrong_settings` means that the child ended with exit code 2."""

    why: str
    last_lines: tuple[str, ...] = ()
    wrong_settings: bool = False


class _StartFailedError(NotStartedError):
    """A start failed; `failure` has the reason."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.why)
        self.failure = failure


class Child(Keeper[ChildProcess]):
    """The supervisor of one child, from `start` to `stop`."""

    def __init__(
        self, spec: ChildSpec, log: Path, report: Callable[[str, Event, str], None], timing: Timing
    ) -> None:
        super().__init__(
            Backoff(timing.first_backoff, timing.longest_backoff), stable_seconds=timing.stable_seconds
        )
        self.spec = spec
        self._log = log
        self._report = report
        self._timing = timing
        self._process: ChildProcess | None = None
        self._log_start = 0
        self.life: asyncio.Task[None] | None = None
        """The task that restarts the child. It ends by itself only if an essential child did not start."""
        self._late = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs, ready or not."""
        return None if self._process is None or self._process.ended.done() else self._process.pid

    async def start(self) -> Failure | None:
        """Start the child and wait until it is ready; from then on it is restarted when it ends.

        A child that is not essential is tried again in the background if the first start fails, and the wait
        for it is short.
        """
        attempt = asyncio.create_task(self._attempt())
        self.life = asyncio.create_task(self._run(attempt), name=self.spec.name)
        await asyncio.wait({attempt}, timeout=None if self.spec.essential else self._timing.wait)
        if attempt.done():
            return attempt.result()
        self._late = True
        return Failure("still starting", self.last_lines())

    async def stop(self) -> None:
        """End the child: SIGTERM to its process group, and SIGKILL after a deadline."""
        if self.life is not None:
            self.life.cancel()
            await asyncio.gather(self.life, return_exceptions=True)
        await self.end()

    async def launch(self) -> ChildProcess:
        """Start the program and probe it until it is ready."""
        patience = self._timing.start if self.spec.essential else self._timing.slow_start
        deadline = asyncio.get_running_loop().time() + patience
        try:
            process = self._process = await self._spawn()
        except OSError as error:  # no room for a log file, or for another process
            fault = Failure(f"{error.filename or self.spec.name}: {error.strerror or error}")
            raise _StartFailedError(fault) from None
        try:
            missing = await self._missing(process, deadline)
            if missing is None:
                return process
        except BaseException:
            await process.end()
            raise
        code = process.ended.result() if process.ended.done() else None
        await process.end()
        if code is not None:
            raise _StartFailedError(
                Failure(_describe_exit(code), self.last_lines(), wrong_settings=code == _WRONG_SETTINGS)
            )
        raise _StartFailedError(Failure(f"not ready after {patience:g} seconds ({missing})", self.last_lines()))

    def report_end(self, _program: ChildProcess, code: int, delay: float) -> None:
        self._report(self.spec.name, Event.DIED, f"{_describe_exit(code)}; starting again in {delay:g} s")

    def report_failure(self, error: NotStartedError, delay: float) -> None:
        self._report(self.spec.name, Event.FAILED, f"{error}; trying again in {delay:g} s")

    def report_start(self) -> None:
        self._report(self.spec.name, Event.READY, "ready again")

    async def _attempt(self) -> Failure | None:
        try:
            await self.launch_first()
        except _StartFailedError as error:
            return error.failure
        return None

    async def _run(self, attempt: asyncio.Task[Failure | None]) -> None:
        failure = await attempt
        if failure is not None and self.spec.essential:
            return
        if self._late:
            self._report(
                self.spec.name, *((Event.READY, "up at last") if failure is None else (Event.FAILED, failure.why))
            )
        if failure is not None:
            await self.wait()
        await self.keep_running()

    async def _missing(self, process: ChildProcess, deadline: float) -> str | None:
        """The missing part when the process ends or the deadline passes; `None` if the process is ready."""
        missing: str | None = "nothing yet"
        while asyncio.get_running_loop().time() < deadline:
            probing = asyncio.create_task(self._probe())
            try:
                await asyncio.wait({probing, process.ended}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not probing.done():
                    probing.cancel()
                    await asyncio.gather(probing, return_exceptions=True)
            if process.ended.done():
                return "it has ended"
            # A probe that raises has not seen that the child is ready.
            fault = probing.exception()
            missing = probing.result() if fault is None else f"{type(fault).__name__}: {fault}"
            if missing is None:
                return None
            await asyncio.wait({process.ended}, timeout=self._timing.probe_again)
        return missing

    async def _probe(self) -> str | None:
        try:
            async with asyncio.timeout(self._timing.start):
                return await self.spec.probe()
        except TimeoutError:
            return "no answer"

    async def _spawn(self) -> ChildProcess:
        for socket in self.spec.sockets:
            socket.unlink(missing_ok=True)
        log = private_files.appending(self._log)
        try:
            self._log_start = os.fstat(log).st_size
            # In a separate session: so Ctrl-C in the terminal reaches `up` alone, which stops children in order.
            return await ChildProcess.start(
                self.spec.command, self.spec.environment, patience=self._timing.stop, output=log
            )
        finally:
            os.close(log)

    def last_lines(self) -> tuple[str, ...]:
        """The last lines that the child has written since its last start."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # A file that is shorter than before was rotated.
                begin = self._log_start if self._log_start <= size else 0
                file.seek(max(begin, size - _LAST_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ()
        return tuple(text.splitlines()[-_LAST_LINES:])


def _describe_exit(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
