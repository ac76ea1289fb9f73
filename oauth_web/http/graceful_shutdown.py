"""How a process of several leaves unnoticed: it says that it goes, serves on until that was heard, and then stops.

Who deals requests out asks `/healthz` again and again and learns it there. Without the pause, a request could be
on its way into a connection that is being closed, and nobody could tell whether it was worked on.
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
        """It serves on for `seconds`, unless nobody has asked for its health in as many: then nobody waits."""
        self._seconds = seconds
        self._asked_at: float | None = None
        self.has_begun = False

    def note_asked(self) -> None:
        """Somebody asked how we are, so somebody must hear that we leave."""
        self._asked_at = time.monotonic()

    async def over(self, asked_to_stop: asyncio.Event, asked_again: asyncio.Event) -> None:
        """Return when it is time to stop: a while after `asked_to_stop` is set, or as soon as `asked_again` is."""
        await asked_to_stop.wait()
        self.has_begun = True
        if self._asked_at is None or time.monotonic() - self._asked_at > self._seconds:
            return
        try:
            await asyncio.wait_for(asked_again.wait(), self._seconds)
        except TimeoutError:
            return


def close_connections_at_shutdown(app: Quart, shutdown: GracefulShutdown) -> None:
    """Have callers of `app` who keep a connection open use it no more, once we leave."""

    @app.after_request
    async def close(answer: Response) -> Response:
        if shutdown.has_begun and request.http_version == "1.1":
            answer.headers["Connection"] = "close"
        return answer
