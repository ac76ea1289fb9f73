"""A sleep for tasks that run for ever, which does not lose a cancellation."""

from __future__ import annotations

import asyncio


async def cancellable_sleep(seconds: float) -> None:
    """Sleep. Raises `CancelledError` also when this task was cancelled and an error at that moment hid it."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    await asyncio.sleep(seconds)
