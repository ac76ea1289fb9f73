"""Keeps programs running: starts them, restarts them after they end, replaces them, and ends them for good.

A `Keeper` keeps one program running. A subclass defines how the program is started, when it is ready and what is
reported: there is one for workers of the check service and one for children of `portcullis up`. A `Watch` notices
when a task ends that must not end.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from oauth_core.process.backoff import Backoff


class Program(Protocol):
    """A program that was started and is ready."""

    @property
    def ended(self) -> asyncio.Task[int]:
        """Its exit code, once it has ended."""

    async def end(self) -> None:
        """End it, at first with time to finish; it has ended afterwards. May be called again."""


P = TypeVar("P", bound=Program)


class NotStartedError(Exception):
    """A start failed. No process of the program is left."""


class SupervisionError(Exception):
    """A task that keeps a program running has ended. The service must not continue without it."""

    def __init__(self, name: str, cause: BaseException | None) -> None:
        why = f"{type(cause).__name__}: {cause}" if cause is not None else "no error"
        super().__init__(f"the supervision of {name} ended unexpectedly ({why})")


class Watch:
    """Notices the end of tasks that must not end by themselves. Belongs to the running event loop."""

    def __init__(self) -> None:
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Fails with `SupervisionError` once a task ended in any way but by cancellation."""

    def watch(self, task: asyncio.Task[None], name: str) -> None:
        """Watch `task`, which belongs to `name`."""

        def report_end(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and not self.broken.done():
                self.broken.set_exception(SupervisionError(name, task.exception()))

        task.add_done_callback(report_end)

    def close(self) -> None:
        """Stop watching."""
        if not self.broken.cancel():
            self.broken.exception()  # marks the exception as retrieved


class Keeper(ABC, Generic[P]):
    """Keeps one program running. Belongs to one event loop."""

    def __init__(self, backoff: Backoff, *, stable_seconds: float) -> None:
        """A program that ran for `stable_seconds` is restarted with the shortest wait of `backoff`."""
        self.program: P | None = None
        """The program that is ready, if any."""
        self._backoff = backoff
        self._stable_seconds = stable_seconds
        self._draining: set[P] = set()
        self._requests: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    @abstractmethod
    async def launch(self) -> P:
        """Start a program and wait until it is ready. Raises `NotStartedError`.

        If it raises, also when it is cancelled, it leaves no process behind.
        """

    @abstractmethod
    def report_end(self, program: P, code: int, delay: float) -> None:
        """Report that the program ended with `code`, and is restarted in `delay` seconds."""

    @abstractmethod
    def report_failure(self, error: NotStartedError, delay: float) -> None:
        """Report that the program did not start, and is tried again in `delay` seconds."""

    def report_start(self) -> None:
        """Report that the program is ready."""

    async def launch_first(self) -> None:
        """Start the program for the first time. Raises `NotStartedError`."""
        self.program = await self.launch()

    async def keep_running(self) -> None:
        """Keep the program running until cancelled; start it first if it does not run."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while True:
            if self.program is None:
                try:
                    self.program = await self.launch()
                except NotStartedError as error:
                    self.report_failure(error, self._backoff.delay)
                    await self.wait()
                    continue
                started_at = loop.time()
                self.report_start()
            request = await self._end_or_request(self.program)
            if request is not None:
                if await self._replace(self.program):
                    started_at = loop.time()
                if not request.done():  # it is cancelled when the caller of `replace` no longer waits
                    request.set_result(None)
                continue
            if loop.time() - started_at >= self._stable_seconds:
                self._backoff.reset()
            self.report_end(self.program, self.program.ended.result(), self._backoff.delay)
            await self.program.end()
            self.program = None
            await self.wait()

    async def wait(self) -> None:
        """Wait before the next start, and double the wait of the start after that."""
        await asyncio.sleep(self._backoff.delay)
        self._backoff.grow()

    async def replace(self) -> None:
        """Ask `keep_running` to replace the running program by a new one, and return when that is done."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests.put_nowait(done)
        await done

    async def end(self) -> None:
        """End the program, and the rest of a replacement. `keep_running` must have been cancelled before."""
        programs = {*self._draining, *(() if self.program is None else (self.program,))}
        self.program = None
        await asyncio.gather(*(program.end() for program in programs))

    async def _end_or_request(self, program: P) -> asyncio.Future[None] | None:
        """Wait until the program ends, or until a replacement is requested for the running program."""
        requested = asyncio.create_task(self._requests.get())
        try:
            await asyncio.wait((program.ended, requested), return_when=asyncio.FIRST_COMPLETED)
            if program.ended.done() and requested.done():
                self._requests.put_nowait(requested.result())  # for the next program
            return None if program.ended.done() else requested.result()
        finally:
            requested.cancel()

    async def _replace(self, old: P) -> bool:
        try:
            self.program = await self.launch()
        except NotStartedError as error:
            self.report_not_replaced(error)
            return False
        self._draining.add(old)
        await self.hand_over()
        await old.end()
        self._draining.discard(old)
        return True

    def report_not_replaced(self, error: NotStartedError) -> None:
        """Report that the running program stays, because a new one did not start."""

    async def hand_over(self) -> None:
        """Wait until the program before a replacement gets no new work."""
