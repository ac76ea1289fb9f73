"""All children together: started stage by stage, and stopped in reverse order by a signal."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oauth_core.process.supervision import Watch
from portcullis.supervisor.child import Child, Event, Failure, Timing
from portcullis.supervisor.log_files import LOOK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from portcullis.supervisor.child import ChildSpec
    from portcullis.supervisor.log_files import LogFiles
    from portcullis.supervisor.probes import Probe

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class StartFailedError(Exception):
    """An essential child did not start."""

    name: str
    failure: Failure


class ProcessGroup:
    """The children of one gateway."""

    def __init__(
        self,
        logs: LogFiles,
        report: Callable[[str, Event, str], None],
        timing: Timing | None = None,
        chores: Mapping[str, Callable[[], list[str]]] | None = None,
        once_ready: Mapping[str, Callable[[], Awaitable[str | None]]] | None = None,
    ) -> None:
        """`chores` run every second, besides that of `logs`; each returns messages, or raises `OSError`.

        `once_ready` has, by the name of a child, the step after it is ready and before the next stage. It
        returns a message, or raises `StartFailedError`.
        """
        self._logs = logs
        self._report = report
        self._timing = timing or Timing()
        self._chores = {"logs": logs.rotate, **(chores or {})}
        self._once_ready = once_ready or {}
        self._started: list[list[Child]] = []
        self._watch: Watch | None = None

    async def run(
        self, stages: Sequence[Sequence[ChildSpec]], checks: Sequence[Probe], when_ready: Callable[[], None]
    ) -> None:
        """Start all children, call `when_ready`, and keep them alive until a signal; then stop all of them.

        Raises `StartFailedError` if an essential child, or the last check, fails, and `SupervisionError` if a
        task that supervises a child ends by itself. In every case, no child is left when this returns.
        """
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            # Under `nohup` SIGHUP is ignored, and stays so.
            if signal.getsignal(number) is not signal.SIG_IGN or number is not signal.SIGHUP:
                loop.add_signal_handler(number, stopping.set)
        watch = self._watch = Watch()
        signalled = asyncio.create_task(stopping.wait())
        starting = asyncio.create_task(self._start(stages, checks))
        chores = [asyncio.create_task(self._do_again(*chore), name=chore[0]) for chore in self._chores.items()]
        for task in chores:
            watch.watch(task, task.get_name())
        try:
            ends: list[asyncio.Future[Any]] = [signalled, watch.broken]
            await asyncio.wait([starting, *ends], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                when_ready()
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if not signalled.done():
                watch.broken.result()
        finally:
            tasks: list[asyncio.Task[Any]] = [starting, signalled, *chores]
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._stop()
            watch.close()

    async def _do_again(self, name: str, chore: Callable[[], list[str]]) -> None:
        failing = False
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                for sentence in await asyncio.to_thread(chore):
                    self._report(name, Event.NOTED, sentence)
                failing = False
            except OSError as error:
                if not failing:
                    self._report(name, Event.FAILED, f"{error.filename}: {error.strerror}; trying again")
                failing = True

    async def _start(self, stages: Sequence[Sequence[ChildSpec]], checks: Sequence[Probe]) -> None:
        for stage in stages:
            children = [
                Child(spec, self._logs.path_of(spec.name, follows=spec.follows_log), self._report, self._timing)
                for spec in stage
            ]
            self._started.append(children)
            await asyncio.gather(*(self._start_one(child) for child in children))
        for check in checks:
            await self._await_check(check)

    async def _start_one(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        name, began = child.spec.name, loop.time()
        self._report(name, Event.STARTING, "starting")
        failure = await child.start()
        if self._watch is not None and child.life is not None and (failure is None or not child.spec.essential):
            self._watch.watch(child.life, name)
        if failure is None:
            self._report(name, Event.READY, f"up after {loop.time() - began:.1f} s")
            if (then := self._once_ready.get(name)) is not None and (said := await then()) is not None:
                self._report(name, Event.NOTED, said)
        elif child.spec.essential:
            raise StartFailedError(name, failure)
        else:
            lines = "".join(f"\n    {line}" for line in failure.last_lines)
            self._report(name, Event.FAILED, f"{failure.why}; going on without it, and trying again{lines}")

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
