"""One child process: started, asked whether it is ready, started again when it dies, and stopped for good."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from oauth_core.process import private_files
from portcullis.supervisor.launch import wrap

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from portcullis.supervisor.probes import Probe

_LAST_LINES = 12
_LAST_BYTES = 8192
_WRONG_SETTINGS = 2


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What a child is: its name, command, whole environment, and how to see that it is ready.

    The gateway cannot be without an `essential` child; another one that fails only takes its service away.
    `sockets` are removed before each start: a process that died cannot do it. `follows_log`: it opens its log file
    anew when that was renamed.
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
    """How patient we are, in seconds. Tests are less patient."""

    start: float = 30.0
    slow_start: float = 300.0
    """As `start`, for a child that is not essential: a first run of `npx` downloads what it runs."""
    wait: float = 15.0
    """How long the others wait for a child that is not essential."""
    probe_again: float = 0.1
    first_backoff: float = 0.5
    longest_backoff: float = 30.0
    calm: float = 60.0
    """A child that lived this long has earned a quick restart again."""
    stop: float = 8.0


class Event(Enum):
    """What a child's life tells. The text that comes with it says the rest."""

    STARTING = "starting"
    READY = "ready"
    DIED = "died"
    FAILED = "failed"
    NOTED = "noted"


@dataclass(frozen=True, slots=True)
class Failure:
    """A start that came to nothing. `wrong_settings` is the child's own word for it (exit code 2)."""

    why: str
    last_lines: tuple[str, ...] = ()
    wrong_settings: bool = False


class Child:
    """The life of one child, from `start` to `stop`."""

    def __init__(
        self, spec: ChildSpec, log: Path, tell: Callable[[str, Event, str], None], timing: Timing
    ) -> None:
        self.spec = spec
        self._log = log
        self._tell = tell
        self._timing = timing
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0
        self.life: asyncio.Task[None] | None = None
        """Keeps it alive, once started. It ends by itself only when an essential child did not start."""
        self._late = False

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        alive = self._process is not None and self._process.returncode is None
        return self._process.pid if self._process is not None and alive else None

    async def start(self) -> Failure | None:
        """Start it and wait until it is ready; from then on it is kept alive.

        A child that is not essential is kept trying in the background even when the first start fails, and
        is not waited for very long.
        """
        attempt = asyncio.create_task(self._attempt())
        self.life = asyncio.create_task(self._live(attempt), name=self.spec.name)
        await asyncio.wait({attempt}, timeout=None if self.spec.essential else self._timing.wait)
        if attempt.done():
            return attempt.result()
        self._late = True
        return Failure("still starting", self.last_lines())

    async def stop(self) -> None:
        """End it: a polite signal to its whole process group, a deadline, then the one it cannot refuse."""
        if self.life is not None:
            self.life.cancel()
            await asyncio.gather(self.life, return_exceptions=True)
        await self._end()

    async def _live(self, attempt: asyncio.Task[Failure | None]) -> None:
        failure = await attempt
        if failure is not None and self.spec.essential:
            return
        if self._late:
            self._tell(
                self.spec.name, *((Event.READY, "up at last") if failure is None else (Event.FAILED, failure.why))
            )
        await self._keep_alive(failed=failure is not None)

    async def _attempt(self) -> Failure | None:
        loop = asyncio.get_running_loop()
        patience = self._timing.start if self.spec.essential else self._timing.slow_start
        deadline = loop.time() + patience
        try:
            await self._spawn()
        except OSError as error:  # no room for a log file, or for another process
            return Failure(f"{error.filename or self.spec.name}: {error.strerror or error}")
        process = self._process
        assert process is not None  # noqa: S101 - for the type checker
        ended = asyncio.create_task(process.wait())
        missing: str | None = "nothing yet"
        try:
            while loop.time() < deadline:
                probing = asyncio.create_task(self._ask())
                await asyncio.wait({probing, ended}, return_when=asyncio.FIRST_COMPLETED)
                if ended.done():
                    probing.cancel()
                    await asyncio.gather(probing, return_exceptions=True)
                    code = ended.result()
                    return Failure(_ending(code), self.last_lines(), wrong_settings=code == _WRONG_SETTINGS)
                # A probe that fails in its own way has not seen that the child is ready.
                fault = probing.exception()
                missing = probing.result() if fault is None else f"{type(fault).__name__}: {fault}"
                if missing is None:
                    return None
                await asyncio.wait({ended}, timeout=self._timing.probe_again)
        finally:
            ended.cancel()
            await asyncio.gather(ended, return_exceptions=True)
        await self._end()
        return Failure(f"not ready after {patience:g} seconds ({missing})", self.last_lines())

    async def _ask(self) -> str | None:
        try:
            return await asyncio.wait_for(self.spec.probe(), self._timing.start)
        except TimeoutError:
            return "no answer"

    async def _spawn(self) -> None:
        for socket in self.spec.sockets:
            socket.unlink(missing_ok=True)
        log = private_files.appending(self._log)
        try:
            self._log_start = os.fstat(log).st_size
            self._process = await asyncio.create_subprocess_exec(
                *wrap(list(self.spec.command)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self.spec.environment),
                # A session of its own: Ctrl-C in the terminal reaches us alone, and we decide the order.
                start_new_session=True,
            )
        finally:
            os.close(log)

    async def _keep_alive(self, *, failed: bool) -> None:
        loop = asyncio.get_running_loop()
        backoff = self._timing.first_backoff
        while True:
            if not failed:
                born = loop.time()
                assert self._process is not None  # noqa: S101 - for the type checker
                code = await self._process.wait()
                if loop.time() - born >= self._timing.calm:
                    backoff = self._timing.first_backoff
                self._tell(self.spec.name, Event.DIED, f"{_ending(code)}; starting again in {backoff:g} s")
            await self._end()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, self._timing.longest_backoff)
            failure = await self._attempt()
            failed = failure is not None
            if failure is not None:
                self._tell(self.spec.name, Event.FAILED, f"{failure.why}; trying again in {backoff:g} s")
            else:
                self._tell(self.spec.name, Event.READY, "ready again")

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            _signal_group(process.pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._timing.stop)
        # Whatever of its group is still there, the leader included, does not get a say any more.
        _signal_group(process.pid, signal.SIGKILL)
        await process.wait()
        self._process = None

    def last_lines(self) -> tuple[str, ...]:
        """The end of what the child has written since it was last started."""
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                # A file that is shorter than before was begun anew.
                begin = self._log_start if self._log_start <= size else 0
                file.seek(max(begin, size - _LAST_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ()
        return tuple(text.splitlines()[-_LAST_LINES:])


def _ending(code: int) -> str:
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
