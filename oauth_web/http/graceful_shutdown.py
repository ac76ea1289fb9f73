"""Graceful shutdown of one of several processes: it reports the shutdown, continues for a while, and then stops.

The load balancer polls `/healthz` and reads the shutdown there. Without the pause, it could send a request into a
connection that is being closed, and could not know whether the request was processed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from quart import request

if TYPE_CHECKING:
    from quart import Quart, Response


class GracefulShutdown:
    """Whether this process is about to stop."""

    def __init__(self, *, seconds: float) -> None:
        """Continue for `seconds`, unless no health check arrived in the last `seconds`: then stop at once."""
        self._seconds = seconds
        self._checked_at: float | None = None
        self.has_begun = False

    def record_health_check(self) -> None:
        """Record a health check: its sender must learn of a shutdown."""
        self._checked_at = time.monotonic()

    async def wait_until_stop(self, stop_requested: asyncio.Event, stop_now_requested: asyncio.Event) -> None:
        """Return when it is time to stop: a while after `stop_requested` is set, or at once after
        `stop_now_requested`.
        """
        await stop_requested.wait()
        self.has_begun = True
        if self._checked_at is None or time.monotonic() - self._checked_at > self._seconds:
            return
        try:
            async with asyncio.timeout(self._seconds):
                await stop_now_requested.wait()
        except TimeoutError:
            return


def close_connections_at_shutdown(app: Quart, shutdown: GracefulShutdown) -> None:
    """Make callers of `app` close their kept connections once the shutdown has begun."""

    @app.after_request
    async def close(answer: Response) -> Response:
        if shutdown.has_begun and request.http_version == "1.1":
            answer.headers["Connection"] = "close"
        return answer
