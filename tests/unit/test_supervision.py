"""One keeper keeps any program running: after its end, after a failed start, and through a replacement."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from oauth_core.process.backoff import Backoff
from oauth_core.process.supervision import Keeper, NotStartedError, SupervisionError, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class FakeProgram:
    """A program that ends when `end` is called."""

    def __init__(self) -> None:
        self.end_now: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.create_task(self._life())
        self.was_ended = False

    async def _life(self) -> int:
        return await self.end_now

    async def end(self) -> None:
        self.was_ended = True
        if not self.end_now.done():
            self.end_now.set_result(0)
        await asyncio.wait((self.ended,))


class FakeKeeper(Keeper[FakeProgram]):
    """Starts fake programs. The next `failures` starts fail."""

    def __init__(self, *, calm: float = 1000.0) -> None:
        super().__init__(Backoff(first=0.001, longest=0.004), stable_seconds=calm)
        self.failures = 0
        self.started: list[FakeProgram] = []
        self.delays: list[float] = []
        self.changed = asyncio.Event()

    async def launch(self) -> FakeProgram:
        if self.failures:
            self.failures -= 1
            raise NotStartedError("no room")
        program = FakeProgram()
        self.started.append(program)
        self.changed.set()
        return program

    def report_end(self, _program: FakeProgram, _code: int, delay: float) -> None:
        self.delays.append(delay)

    def report_failure(self, _error: NotStartedError, delay: float) -> None:
        self.delays.append(delay)

    async def count(self, at_least: int) -> None:
        """Wait until `at_least` programs were started in all."""
        async with asyncio.timeout(60):
            while len(self.started) < at_least:
                self.changed.clear()
                await self.changed.wait()


@asynccontextmanager
async def keeping(keeper: FakeKeeper) -> AsyncIterator[FakeKeeper]:
    life = asyncio.create_task(keeper.keep_running())
    try:
        yield keeper
    finally:
        life.cancel()
        await asyncio.gather(life, return_exceptions=True)
        await keeper.end()


async def test_a_program_that_ends_is_restarted_with_growing_delays_up_to_a_limit() -> None:
    async with keeping(FakeKeeper()) as keeper:
        for number in range(1, 6):
            await keeper.count(number)
            keeper.started[-1].end_now.set_result(3)
        await keeper.count(6)
    assert keeper.delays == [0.001, 0.002, 0.004, 0.004, 0.004]
    assert all(program.was_ended for program in keeper.started)


async def test_a_program_that_ran_for_long_is_restarted_soon() -> None:
    async with keeping(FakeKeeper(calm=0.0)) as keeper:
        for number in range(1, 4):
            await keeper.count(number)
            keeper.started[-1].end_now.set_result(3)
        await keeper.count(4)
    assert keeper.delays == [0.001, 0.001, 0.001]


async def test_a_failed_start_is_retried() -> None:
    keeper = FakeKeeper()
    keeper.failures = 2
    async with keeping(keeper):
        await keeper.count(1)
    assert keeper.delays == [0.001, 0.002]


async def test_a_replacement_runs_before_the_old_program_ends() -> None:
    async with keeping(FakeKeeper()) as keeper:
        await keeper.count(1)
        old = keeper.started[0]
        async with asyncio.timeout(60):
            await keeper.replace()
        assert keeper.program is keeper.started[1]
        assert old.was_ended
        assert not keeper.started[1].was_ended


async def test_a_replacement_that_does_not_start_keeps_the_old_program() -> None:
    async with keeping(FakeKeeper()) as keeper:
        await keeper.count(1)
        keeper.failures = 1
        async with asyncio.timeout(60):
            await keeper.replace()
        assert keeper.program is keeper.started[0]
        assert not keeper.started[0].was_ended


async def test_a_replacement_requested_while_nothing_runs_is_made_later() -> None:
    keeper = FakeKeeper()
    asked = asyncio.create_task(keeper.replace())
    await asyncio.sleep(0)
    async with keeping(keeper):
        async with asyncio.timeout(60):
            await asked
        assert keeper.program is keeper.started[1]


async def test_a_cancelled_request_for_a_replacement_does_not_end_supervision() -> None:
    class Slow(FakeKeeper):
        async def hand_over(self) -> None:
            handing_over.set()
            await go_on.wait()

    handing_over, go_on = asyncio.Event(), asyncio.Event()
    async with keeping(Slow()) as keeper:
        await keeper.count(1)
        asked = asyncio.create_task(keeper.replace())
        async with asyncio.timeout(60):
            await handing_over.wait()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        go_on.set()
        async with asyncio.timeout(60):
            await keeper.replace()
        assert keeper.program is keeper.started[2]


async def test_both_programs_end_when_a_replacement_is_interrupted() -> None:
    class Interrupted(FakeKeeper):
        async def hand_over(self) -> None:
            handing_over.set()
            await asyncio.get_running_loop().create_future()

    handing_over = asyncio.Event()
    async with keeping(Interrupted()) as keeper:
        await keeper.count(1)
        asked = asyncio.create_task(keeper.replace())
        async with asyncio.timeout(60):
            await handing_over.wait()
        asked.cancel()
    assert [program.was_ended for program in keeper.started] == [True, True]


async def test_a_watch_detects_the_failure_of_a_task_and_ignores_its_cancellation() -> None:
    async def fail() -> None:
        raise ValueError("a fault of ours")

    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    watch = Watch()
    cancelled = asyncio.create_task(forever())
    watch.watch(cancelled, "one")
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    assert not watch.broken.done()
    watch.watch(asyncio.create_task(fail()), "two")
    with pytest.raises(SupervisionError, match=r"the supervision of two ended unexpectedly .*a fault of ours"):
        async with asyncio.timeout(60):
            await watch.broken
    watch.close()
