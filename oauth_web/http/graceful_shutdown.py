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
        self._asked_at: float | None = None
        self.has_begun = False

    def note_asked(self) -> None:
        """Record a health check: its sender must learn of a shutdown."""
        self._asked_at = time.monotonic()

    async def over(self, asked_to_stop: asyncio.Event, asked_again: asyncio.Event) -> None:
        """Return when it is time to stop: a while after `asked_to_stop` is set, or at once after `asked_again`."""
        await asked_to_stop.wait()
        self.has_begun = True
        if self._asked_at is None or time.monotonic() - self._asked_at > self._seconds:
            return
        try:
            await asyncio.wait_for(asked_again.wait(), self._seconds)
        except TimeoutError:
            return


def close_connections_at_shutdown(app: Quart, shutdown: GracefulShutdown) -> None:
    """Make callers of `app` close their kept connections once the shutdown has begun."""

    @app.after_request
    async def close(answer: Response) -> Response:
        if shutdown.has_begun and request.http_version == "1.1":
            answer.headers["Connection"] = "close"
        return answer
