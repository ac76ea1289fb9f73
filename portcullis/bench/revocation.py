"""How soon a revocation takes effect under load: from `DEL token:<jti>` until the check refuses.

While a load of other tokens runs, requests with one token are sent again and again, and a plain client deletes the
key of that token. Two times count from just before that command. *Holds*: until the first refused request was
sent, so that every later request is refused too; this is the command and the invalidation. *First refused*: until
the answer to it has arrived, which includes the check.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from oauth_core.store import keyspace
from portcullis.bench import process_group
from portcullis.bench.answer_check import ALLOWED
from portcullis.bench.generator import GeneratorError, SocketConnection
from portcullis.bench.latency import Histogram
from portcullis.bench.pool import Pool
from portcullis.bench.runner import PERCENTILES

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis import Redis

    from portcullis.bench.connection import Answer
    from portcullis.bench.plan import Load, Tally
    from portcullis.bench.pool import Entry

LONGEST = 5.0
"""Seconds after which a token counts as never refused."""

REFUSED = "refused with 401"
_REQUESTS_BEFORE = 2
_REQUESTS_AFTER = 3
_REPORT_EVERY = 100
_STREAMS = 2


@dataclass
class Propagation:
    """The measured times. `allowed_after_refused` counts answers that let a refused token through again."""

    holds: Histogram = field(default_factory=Histogram)
    first_refused: Histogram = field(default_factory=Histogram)
    never_refused: int = 0
    allowed_after_refused: int = 0
    background: Tally | None = None

    @property
    def is_sound(self) -> bool:
        """Whether every token ended and stayed ended, and the load beside it was answered rightly."""
        return not (
            self.never_refused
            or self.allowed_after_refused
            or not len(self.first_refused)
            or (self.background is not None and self.background.wrong)
        )

    def summary(self) -> dict[str, Any]:
        """As JSON-ready data, in milliseconds."""
        beside = self.background
        return {
            "sound": self.is_sound,
            "revocations": len(self.first_refused),
            "holds_ms": {name: self.holds.percentile(share) for name, share in PERCENTILES.items()},
            "first_refused_ms": {
                name: self.first_refused.percentile(share) for name, share in PERCENTILES.items()
            },
            "never_refused": self.never_refused,
            "allowed_after_refused": self.allowed_after_refused,
            "background_rate": beside.allowed / beside.seconds if beside and beside.seconds else 0.0,
            "background_p50_ms": beside.latency.percentile(0.5) if beside else None,
            "background_p99_ms": beside.latency.percentile(0.99) if beside else None,
            "background_wrong": beside.wrong if beside else {},
        }


def measure(load: Load, spare: tuple[int, int], redis: Redis, progress: Callable[[str], None]) -> Propagation:
    """Revoke tokens `spare` (first, after the last) one by one while `load`, of other tokens, runs beside it.

    Continues until the time of `load` is over or all are revoked. Raises `GeneratorError`.
    """
    seen = Propagation()
    busy = _Background(load)
    try:
        with closing(Pool(load.pool)) as pool, closing(_Prober(load)) as prober:
            end = time.monotonic() + load.seconds
            for done, number in enumerate(range(*spare), 1):
                if time.monotonic() >= end:
                    break
                prober.revoke(pool[number], redis, seen)
                if done % _REPORT_EVERY == 0:
                    progress(f"revoked {done:,}")
    finally:
        seen.background = busy.result()
    return seen


class _Background:
    """A load in a thread, while this thread revokes. The constructor returns once the load runs."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._tally: Tally | None = None
        self._error: GeneratorError | None = None
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self._begun.wait()

    def result(self) -> Tally | None:
        """Wait for its end and return its counts. Raises `GeneratorError`."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._tally

    def _run(self) -> None:
        try:
            self._tally = process_group.run(self._load, begun=self._begun.set)
        except GeneratorError as error:
            self._error = error
        finally:
            self._begun.set()


class _Prober:
    """Sends requests with one token at a time, over its own connection."""

    def __init__(self, load: Load) -> None:
        self._wire = SocketConnection(replace(load, streams=_STREAMS))
        self._wire.socket.settimeout(LONGEST)
        self._address = load.target.address
        self._answers: deque[Answer] = deque()

    def close(self) -> None:
        """Close the connection."""
        self._wire.socket.close()

    def revoke(self, entry: Entry, redis: Redis, seen: Propagation) -> None:
        """Check that the token passes, revoke it, and wait until it does not."""
        for _ in range(_REQUESTS_BEFORE):
            verdict = self._next(entry).verdict
            if verdict != ALLOWED:
                raise GeneratorError(f"{self._address}: a live token was not let through: {verdict}")
        start = time.monotonic()
        redis.delete(keyspace.token(entry.jti.decode()))
        while (answer := self._next(entry)).verdict == ALLOWED:
            if time.monotonic() - start > LONGEST:
                seen.never_refused += 1
                self._drain()
                return
        if answer.verdict != REFUSED:
            raise GeneratorError(f"{self._address}: a revoked token was answered otherwise: {answer.verdict}")
        seen.holds.record(max(0.0, answer.sent_at - start))
        seen.first_refused.record(time.monotonic() - start)
        for _ in range(_REQUESTS_AFTER):
            seen.allowed_after_refused += self._next(entry).verdict == ALLOWED
        self._drain()

    def _send(self, entry: Entry) -> None:
        self._wire.state.send(entry, time.monotonic())

    def _next(self, entry: Entry) -> Answer:
        """One more answer. While one is awaited another request is under way, so that no moment is missed."""
        while not self._answers:
            while self._wire.state.waiting < _STREAMS:
                self._send(entry)
            self._take_in()
        return self._answers.popleft()

    def _drain(self) -> None:
        """Receive what is under way, so that the answers for the next token are its own."""
        while self._wire.state.waiting:
            self._take_in()
        self._answers.clear()

    def _take_in(self) -> None:
        self._wire.flush()
        self._answers += self._wire.read()
        if self._wire.is_broken:
            raise GeneratorError(f"{self._address}: connection lost, or no answer in {LONGEST:g} s")
