"""A sleep for tasks that go on for ever: none of them misses that it is cancelled."""

from __future__ import annotations

import asyncio


async def rest(seconds: float) -> None:
    """Sleep. Raises `CancelledError` also when this task was told to stop and an error at that moment hid it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)
