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

    async def over(self, told: asyncio.Event, told_again: asyncio.Event) -> None:
        """Return when it is time to stop: some while after `told` is set, or as soon as `told_again` is."""
        await told.wait()
        self.has_begun = True
        if self._asked_at is None or time.monotonic() - self._asked_at > self._seconds:
            return
        try:
            await asyncio.wait_for(told_again.wait(), self._seconds)
        except TimeoutError:
            return


def let_go(app: Quart, leaving: GracefulShutdown) -> None:
    """Have callers of `app` who keep a connection open use it no more, once we leave."""

    @app.after_request
    async def close(answer: Response) -> Response:
        if leaving.has_begun and request.http_version == "1.1":
            answer.headers["Connection"] = "close"
        return answer
