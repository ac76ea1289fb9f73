"""Takes turns: costly work is done one piece at a time, and everything else that is due goes in between.

Checking a signature takes longer than twenty answers from memory. Done as they come, a flood of tokens never seen
before would make every caller behind it wait for all of it. So whoever needs a signature waits for a turn. Between
two turns the event loop goes round a few times, and answers all whose token it knows: they wait for one signature
at most, not for the flood. While there is nothing else to do the rounds take no time.

Even so a flood could keep the interpreter busy all the time. So whoever worked may ask for a rest, in which only
others are served, and has a share of the time.

Turns go round among sources too, so that one who sends many tokens keeps those of others waiting no longer than if
he had sent one.
"""

from __future__ import annotations

import asyncio
from collections import deque

_ROUNDS = 4
"""Of the event loop, after each piece of work: an answer takes a few of them from its request to its end."""

_LEAST_REST = 0.001
"""Seconds. Event loops do not sleep for less; shorter rests are put together."""

_LONGEST_REST = 0.05
"""Seconds. Work that took long because the machine stood still must not stop everything."""

_SHARE = 4
"""One source may have that part of the waiting places."""


class Turns:
    """Belongs to one event loop."""

    def __init__(self, most_waiting: int) -> None:
        """Who comes when so many wait is sent away."""
        self._most_waiting = most_waiting
        self._most_of_one = max(1, most_waiting // _SHARE)
        self._sources: dict[str | None, deque[asyncio.Future[bool]]] = {}
        self._giving: asyncio.Task[None] | None = None
        self._rest = 0.0
        self.waiting = 0

    async def wait(self, source: str | None) -> bool:
        """Return `True` when it is the turn of one of `source`'s, or `False` when too many wait already.

        The work must be done before the next `await`.
        """
        queue = self._sources.get(source)
        if self.waiting >= self._most_waiting or (queue is not None and len(queue) >= self._most_of_one):
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        if queue is None:
            queue = self._sources[source] = deque()
        queue.append(turn)
        self.waiting += 1
        if self._giving is None:
            self._giving = asyncio.create_task(self._give())
        return await turn

    def rest(self, seconds: float) -> None:
        """Leave so much time to others before the next turn."""
        self._rest += seconds

    async def _give(self) -> None:
        try:
            while self._sources:
                source = next(iter(self._sources))
                queue = self._sources.pop(source)
                turn = queue.popleft()
                self.waiting -= 1
                if queue:
                    self._sources[source] = queue  # behind all others
                if turn.done():  # the caller has given up
                    continue
                turn.set_result(True)
                for _ in range(_ROUNDS):
                    await asyncio.sleep(0)
                if self._rest >= _LEAST_REST:
                    seconds, self._rest = min(self._rest, _LONGEST_REST), 0.0
                    await asyncio.sleep(seconds)
        finally:
            self._giving = None
