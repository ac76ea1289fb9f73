"""All children together: started stage by stage, stopped in reverse, and the whole ended by a signal."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

from portcullis.supervisor.child import Child, Event, Failure, Timing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from portcullis.supervisor.child import ChildSpec
    from portcullis.supervisor.probes import Probe

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class StartFailedError(Exception):
    """The gateway cannot be without this child, and it did not start."""

    name: str
    failure: Failure


class Fleet:
    """The children of one gateway."""

    def __init__(self, logs: Path, tell: Callable[[str, Event, str], None], timing: Timing | None = None) -> None:
        self._logs = logs
        self._tell = tell
        self._timing = timing or Timing()
        self._started: list[list[Child]] = []

    async def run(
        self, stages: Sequence[Sequence[ChildSpec]], checks: Sequence[Probe], when_ready: Callable[[], None]
    ) -> None:
        """Start everything, say so, and keep it alive until a signal; then stop everything.

        Raises `StartFailedError` when an essential child, or the last check, fails. Whatever happens, no
        child is left when this returns.
        """
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, stopping.set)
        signalled = asyncio.create_task(stopping.wait())
        starting = asyncio.create_task(self._start(stages, checks))
        try:
            await asyncio.wait({starting, signalled}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                when_ready()
                await signalled
        finally:
            for task in (starting, signalled):
                task.cancel()
            await asyncio.gather(starting, signalled, return_exceptions=True)
            await self._stop()

    async def _start(self, stages: Sequence[Sequence[ChildSpec]], checks: Sequence[Probe]) -> None:
        for stage in stages:
            children = [Child(spec, self._log_of(spec.name), self._tell, self._timing) for spec in stage]
            self._started.append(children)
            await asyncio.gather(*(self._start_one(child) for child in children))
        for check in checks:
            await self._await_check(check)

    async def _start_one(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        name, began = child.spec.name, loop.time()
        self._tell(name, Event.STARTING, "starting")
        failure = await child.start()
        if failure is None:
            self._tell(name, Event.READY, f"up after {loop.time() - began:.1f} s")
        elif child.spec.essential:
            raise StartFailedError(name, failure)
        else:
            lines = "".join(f"\n    {line}" for line in failure.last_lines)
            self._tell(name, Event.FAILED, f"{failure.why}; going on without it, and trying again{lines}")

    async def _await_check(self, check: Probe) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._timing.start
        while (missing := await check()) is not None:
            if loop.time() >= deadline:
                raise StartFailedError("gateway", Failure(missing))
            await asyncio.sleep(self._timing.probe_again)

    async def _stop(self) -> None:
        for children in reversed(self._started):
            await asyncio.gather(*(child.stop() for child in children), return_exceptions=True)

    def _log_of(self, name: str) -> Path:
        """A fresh log for this run; the one of the run before is kept beside it."""
        path = self._logs / f"{name}.log"
        if path.exists():
            path.replace(path.with_suffix(".log.1"))
        return path
