"""Takes turns: costly work is done one piece at a time, and everything else that is due goes in between.

Checking a signature takes longer than twenty answers from memory. Done as they come, a flood of tokens never seen
before would make every caller behind it wait for all of it. So each check that needs a signature waits for a turn.
Between two turns the event loop goes round a few times, and answers all whose token it knows: they wait for one
signature at most, not for the flood. While there is nothing else to do the rounds take no time.

Even so a flood could keep the interpreter busy all the time. So the worker may ask for a rest, in which only
others are served, and has a share of the time.

Sources have turns one after the other, whatever number of tokens each of them has waiting. When all places are
taken, a source with few tokens waiting takes the place of the newest token of the source with the most. So a flood
from some addresses never keeps another address out; only as many addresses as there are places could.
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


class FairQueue:
    """Belongs to one event loop. A source is whatever callers are told apart by: the network of their address."""

    def __init__(self, most_waiting: int) -> None:
        """At most `most_waiting` wait at a time, of one source at most a quarter of that."""
        self._most_waiting = most_waiting
        self._most_of_one = max(1, most_waiting // _SHARE)
        self._sources: dict[str | None, deque[asyncio.Future[bool]]] = {}
        self._by_length: dict[int, dict[str | None, None]] = {}
        """The sources by how many of theirs wait; of equal ones the first to get there comes first."""
        self._giving: asyncio.Task[None] | None = None
        self._back_off = 0.0
        self.waiting = 0

    async def wait(self, source: str | None) -> bool:
        """Return `True` when it is the turn of one of `source`'s, or `False` when there is no place for it.

        The work must be done before the next `await`.
        """
        mine = len(self._sources.get(source, ()))
        if mine >= self._most_of_one or (self.waiting >= self._most_waiting and not self._make_room(mine)):
            return False
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._sources.setdefault(source, deque()).append(turn)
        self._note_length(source, mine, mine + 1)
        if self._giving is None:
            self._giving = asyncio.create_task(self._give())
        return await turn

    def _make_room(self, mine: int) -> bool:
        """Send away the newest of the source with the most waiting, for one that has `mine` and so fewer."""
        most = max(self._by_length, default=0)
        if most <= mine + 1:
            return False
        source = next(iter(self._by_length[most]))
        turn = self._sources[source].pop()
        self._note_length(source, most, most - 1)
        if not turn.done():
            turn.set_result(False)
        return True

    def _note_length(self, source: str | None, before: int, after: int) -> None:
        self.waiting += after - before
        if before:
            del self._by_length[before][source]
            if not self._by_length[before]:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, {})[source] = None

    def back_off(self, seconds: float) -> None:
        """Leave so much time to others before the next turn."""
        self._back_off += seconds

    async def _give(self) -> None:
        try:
            while self._sources:
                source = next(iter(self._sources))
                queue = self._sources.pop(source)
                turn = queue.popleft()
                self._note_length(source, len(queue) + 1, len(queue))
                if queue:
                    self._sources[source] = queue  # behind all others
                if turn.done():  # the caller has given up
                    continue
                turn.set_result(True)
                for _ in range(_ROUNDS):
                    await asyncio.sleep(0)
                if self._back_off >= _LEAST_REST:
                    seconds, self._back_off = min(self._back_off, _LONGEST_REST), 0.0
                    await asyncio.sleep(seconds)
        finally:
            self._giving = None
