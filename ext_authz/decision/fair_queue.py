"""A fair queue: costly work is done one piece at a time, and other due work runs in between.

Checking a signature takes longer than twenty answers from the cache. Without a queue, a flood of new tokens would
delay every caller behind it for the whole flood. So each check that needs a signature waits in the queue. Between
two pieces of work the event loop runs a few times, and answers all callers whose token is cached: they wait for
one signature at most, not for the flood. While there is no other work, these runs take no time.

A flood could still keep the interpreter busy all the time. So the worker may ask for a back-off, in which only
other work is done. This limits the queue to a share of the time.

The queue alternates between sources, whatever number of tokens each of them has waiting. When all places are
taken, a source with few waiting tokens replaces the newest token of the source with the most. So a flood from some
addresses never blocks another address; only as many addresses as there are places could.
"""

from __future__ import annotations

import asyncio
from collections import deque

_ROUNDS = 4
"""Runs of the event loop after each piece of work: an answer needs a few of them from its request to its end."""

_SHORTEST_BACK_OFF = 0.001
"""Seconds. Event loops do not sleep for less; shorter back-offs are added up."""

_LONGEST_BACK_OFF = 0.05
"""Seconds. Work that took long because the machine was suspended must not stop everything."""

_SHARE = 4
"""One source may have this fraction of the waiting places."""


class FairQueue:
    """Belongs to one event loop. A source is the value that separates callers: the network of their address."""

    def __init__(self, most_waiting: int) -> None:
        """At most `most_waiting` callers wait at a time, of one source at most a quarter of that."""
        self._most_waiting = most_waiting
        self._most_of_one = max(1, most_waiting // _SHARE)
        self._sources: dict[str | None, deque[asyncio.Future[bool]]] = {}
        self._by_length: dict[int, dict[str | None, None]] = {}
        """The sources by their number of waiting callers; of equal ones the first to reach that number comes
        first.
        """
        self._running: asyncio.Task[None] | None = None
        self._back_off = 0.0
        self.waiting = 0

    async def wait(self, source: str | None) -> bool:
        """Return `True` when it is the turn of a caller of `source`, or `False` when there is no place for it.

        The work must be done before the next `await`.
        """
        own = len(self._sources.get(source, ()))
        if own >= self._most_of_one or (self.waiting >= self._most_waiting and not self._make_room(own)):
            return False
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._sources.setdefault(source, deque()).append(waiter)
        self._update_length(source, own, own + 1)
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await waiter

    def _make_room(self, own: int) -> bool:
        """Reject the newest caller of the source with the most waiting, for a source with fewer, `own`."""
        most = max(self._by_length, default=0)
        if most <= own + 1:
            return False
        source = next(iter(self._by_length[most]))
        waiter = self._sources[source].pop()
        self._update_length(source, most, most - 1)
        if not waiter.done():
            waiter.set_result(False)
        return True

    def _update_length(self, source: str | None, before: int, after: int) -> None:
        self.waiting += after - before
        if before:
            del self._by_length[before][source]
            if not self._by_length[before]:
                del self._by_length[before]
        if after:
            self._by_length.setdefault(after, {})[source] = None

    def back_off(self, seconds: float) -> None:
        """Leave `seconds` to other work before the next turn."""
        self._back_off += seconds

    async def _run(self) -> None:
        try:
            while self._sources:
                source = next(iter(self._sources))
                queue = self._sources.pop(source)
                waiter = queue.popleft()
                self._update_length(source, len(queue) + 1, len(queue))
                if queue:
                    self._sources[source] = queue  # behind all others
                if waiter.done():  # the caller has given up
                    continue
                waiter.set_result(True)
                for _ in range(_ROUNDS):
                    await asyncio.sleep(0)
                if self._back_off >= _SHORTEST_BACK_OFF:
                    seconds, self._back_off = min(self._back_off, _LONGEST_BACK_OFF), 0.0
                    await asyncio.sleep(seconds)
        finally:
            self._running = None
