"""A task that is cancelled while it asks Redis ends, also when the client of Redis hides the cancellation."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from oauth_core.errors import StoreUnavailableError
from oauth_core.store.connection import guarded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def answered_in_spite_of_a_cancellation() -> None:
    """Do what `asyncio.wait_for` did before Python 3.12, if the answer comes at the moment of a cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return


async def failed_in_spite_of_a_cancellation() -> None:
    """Fail with the error of a connection that a cancellation ended."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        raise RedisConnectionError from None


async def cancelled(work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
    """Start a task, cancel it once it waits, and return it after its end."""

    async def run() -> None:
        await work()

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=30)
    assert task.done()
    return task


HIDING = pytest.mark.parametrize("ask", [answered_in_spite_of_a_cancellation, failed_in_spite_of_a_cancellation])


@HIDING
async def test_a_task_that_reads_for_ever_ends_when_it_is_cancelled(ask: Callable[[], Awaitable[None]]) -> None:
    async def read_for_ever() -> None:
        while True:
            try:
                async with guarded():
                    await ask()
            except StoreUnavailableError:
                await asyncio.sleep(0)

    assert (await cancelled(read_for_ever)).cancelled()


@HIDING
async def test_a_time_limit_around_a_read_ends_in_a_timeout(ask: Callable[[], Awaitable[None]]) -> None:
    async def read() -> None:
        async with asyncio.timeout(0.01), guarded():
            await ask()

    with pytest.raises(TimeoutError):
        await read()


async def test_a_cancelled_task_still_writes_what_it_must() -> None:
    written = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for number in range(2):
                async with guarded():
                    written.append(number)

    assert (await cancelled(work)).cancelled()
    assert written == [0, 1]


async def test_a_failure_without_a_cancellation_stays_a_failure() -> None:
    async def fail() -> None:
        async with guarded():
            raise RedisConnectionError

    with pytest.raises(StoreUnavailableError):
        await fail()
