"""One process of the load generator: sockets, moments, and the loop that sends and receives.

A single thread with non-blocking sockets. `connection` writes the frames; this module decides when to send and
when to stop. Between two moments it sleeps in `select`, which wakes with a precision of microseconds where `epoll`
has milliseconds. It never spins, because that would take processor time from the server.
"""

from __future__ import annotations

import contextlib
import select
import selectors
import socket
import time
from math import gcd
from typing import TYPE_CHECKING

from ext_authz.grpc_http2.http2_codec import ProtocolError
from oauth_core.net.listen_addresses import UnixAddress, parse
from portcullis.bench import answer_check, request_builder
from portcullis.bench.arrivals import Arrivals
from portcullis.bench.connection import Connection
from portcullis.bench.plan import Load, Tally
from portcullis.bench.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from portcullis.bench.connection import Answer
    from portcullis.bench.pool import Entry

CONNECT_SECONDS = 5.0
GRACE_SECONDS = 3.0
"""How long after its last moment an open loop waits for answers."""

_CHUNK = 262_144
_GOLDEN = 0.618_033_988_75


class GeneratorError(Exception):
    """The load cannot be made. The message is one readable line."""


class SocketConnection:
    """A connection and its socket."""

    def __init__(self, load: Load) -> None:
        """Connect; raises `GeneratorError`."""
        target = load.target
        self.state = Connection(
            request_builder.request_builder_for(target.kind, target.url, body=target.body),
            answer_check.checker_for(target.kind, identity=target.identity),
            streams=load.streams,
        )
        self.socket = connect(target.address)
        self.unsent = b""
        self.is_broken = False
        self.is_stuck = False
        """Whether we wait for the server to read."""

    def flush(self) -> bool:
        """Send what there is to send; returns whether all of it was sent."""
        self.unsent += self.state.outgoing()
        if self.unsent:
            try:
                self.unsent = self.unsent[self.socket.send(self.unsent) :]
            except BlockingIOError:
                pass
            except OSError:
                self.is_broken = True
                self.unsent = b""
        return not self.unsent

    def read(self) -> Iterator[Answer]:
        """The answers that have arrived; if the connection is broken, that is the answer to all under way."""
        try:
            data = self.socket.recv(_CHUNK)
            if data:
                yield from self.state.feed(data)
                return
        except BlockingIOError:
            return
        except (OSError, ProtocolError):
            pass
        self.is_broken = True
        yield from self.state.lose("connection lost")


def connect(address: str) -> socket.socket:
    """A non-blocking socket connected to `host:port` or `unix:/path`. Raises `GeneratorError`."""
    try:
        listen_address = parse(address)
        if isinstance(listen_address, UnixAddress):
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(CONNECT_SECONDS)
            made.connect(str(listen_address.path))
        else:
            made = socket.create_connection((listen_address.host, listen_address.port), timeout=CONNECT_SECONDS)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except (OSError, ValueError) as error:
        raise GeneratorError(f"cannot connect to {address}: {error}") from None
    made.settimeout(0)
    return made


def stride(count: int) -> int:
    """A step that visits every one of `count` tokens before any again, far from the last each time.

    A walk in order would favour a server that remembers its latest callers, and the processor's caches.
    """
    step = max(1, int(count * _GOLDEN))
    while gcd(step, count) != 1:
        step += 1
    return step


class Generator:
    """Connects in the constructor, then runs once. Close it afterwards."""

    def __init__(self, load: Load) -> None:
        """Raises `GeneratorError` when the server cannot be reached or does not speak HTTP/2."""
        self._load = load
        self._pool = Pool(load.pool)
        self._selector = selectors.DefaultSelector()
        self._wires: list[SocketConnection] = []
        self._answered: Callable[[Answer, float], None] = lambda _answer, _now: None
        try:
            for _ in range(load.connections):
                self._add()
            self._wait_for_answers()
        except BaseException:
            self.close()
            raise

    def run(self, begin: float) -> Tally:
        """Measure from the moment `begin` of the monotonic clock on; load starts earlier by the warm-up."""
        time.sleep(max(0.0, begin - self._load.warm_up - time.monotonic()))
        return self._run_open(begin) if self._load.mode == "open" else self._run_closed(begin)

    def close(self) -> None:
        """Close every connection."""
        for wire in self._wires:
            wire.socket.close()
        self._selector.close()
        self._pool.close()

    def _run_closed(self, begin: float) -> Tally:
        tally, end = Tally(), begin + self._load.seconds
        entries = self._entries()
        left = self._load.last - self._load.first

        def answered(answer: Answer, now: float) -> None:
            nonlocal left
            left -= 1
            if begin <= now < end:
                tally.verdicts[answer.verdict] += 1
                tally.latency.record(now - answer.sent_at)

        self._answered = answered
        once, upcoming = self._load.mode == "once", next(entries, None)
        while (now := time.monotonic()) < end and not (once and left <= 0):
            for wire in self._wires:
                while upcoming is not None and wire.state.room(upcoming):
                    wire.state.send(upcoming, now)
                    upcoming = next(entries, None)
            self._exchange(end)
        tally.seconds = min(time.monotonic(), end) - begin
        return tally

    def _run_open(self, begin: float) -> Tally:
        load = self._load
        tally, end = Tally(), begin + load.seconds
        arrivals = Arrivals(begin - load.warm_up, load.rate, load.number, load.processes)
        total, asked = arrivals.before(end), 0
        entries = self._entries()
        waiting: set[float] = set()

        def answered(answer: Answer, now: float) -> None:
            waiting.discard(answer.sent_at)
            if begin <= answer.sent_at < end:
                tally.verdicts[answer.verdict] += 1
                tally.latency.record(now - answer.sent_at)

        self._answered = answered
        upcoming = next(entries)
        while (now := time.monotonic()) < end + GRACE_SECONDS and (asked < total or waiting):
            due = arrivals.due(asked) if asked < total else end + GRACE_SECONDS
            wire = None
            while due <= now and (wire := self._free(upcoming)) is not None:
                wire.state.send(upcoming, due)
                waiting.add(due)
                upcoming = next(entries)
                asked += 1
                due = arrivals.due(asked) if asked < total else end + GRACE_SECONDS
            # With no room, only an answer can change anything; else the next moment may come first.
            self._exchange(due if due > now else end + GRACE_SECONDS)
        waiting.update(arrivals.due(index) for index in range(asked, total))
        for due in waiting:
            if due >= begin:
                tally.missed += 1
                tally.latency.record(time.monotonic() - due)
        tally.seconds = load.seconds
        return tally

    def _entries(self) -> Iterator[Entry]:
        """The tokens in the order of their use; without an end, unless each is used once."""
        first, count = self._load.first, self._load.last - self._load.first
        if self._load.mode == "once":
            yield from (self._pool[number] for number in range(first, self._load.last))
            return
        step, at = stride(count), int(count * self._load.number / self._load.processes)
        while True:
            yield self._pool[first + at]
            at = (at + step) % count

    def _free(self, entry: Entry) -> SocketConnection | None:
        """The next connection with room; connections alternate."""
        for _ in self._wires:
            self._wires.append(self._wires.pop(0))
            if self._wires[-1].state.room(entry):
                return self._wires[-1]
        return None

    def _exchange(self, until: float) -> None:
        """Send pending bytes and process arriving ones; wait for these until a moment at most."""
        for wire in self._wires:
            stuck = not wire.flush()
            if stuck != wire.is_stuck:
                events = selectors.EVENT_READ | (selectors.EVENT_WRITE if stuck else 0)
                self._selector.modify(wire.socket, events, wire)
                wire.is_stuck = stuck
        timeout = max(0.0, until - time.monotonic())
        select.select([self._selector], [], [], timeout)
        for key, events in self._selector.select(0):
            if events & selectors.EVENT_READ:
                answers = list(key.data.read())
                now = time.monotonic()
                for answer in answers:
                    self._answered(answer, now)
        self._replace()

    def _replace(self) -> None:
        """Replace each broken connection, and each idle one that the server asked us to close."""
        for wire in list(self._wires):
            if wire.is_broken or (wire.state.got_goaway and not wire.state.waiting):
                now = time.monotonic()
                for answer in wire.state.lose("connection lost"):
                    self._answered(answer, now)
                self._remove(wire)
                with contextlib.suppress(GeneratorError):
                    self._add()
        if not self._wires:
            raise GeneratorError(f"{self._load.target.address} closed every connection and takes no new one")

    def _add(self) -> None:
        wire = SocketConnection(self._load)
        self._wires.append(wire)
        self._selector.register(wire.socket, selectors.EVENT_READ, wire)

    def _remove(self, wire: SocketConnection) -> None:
        self._wires.remove(wire)
        self._selector.unregister(wire.socket)
        wire.socket.close()

    def _wait_for_answers(self) -> None:
        """Wait until every connection knows the server's limits."""
        deadline = time.monotonic() + CONNECT_SECONDS
        while not all(wire.state.is_settled for wire in self._wires):
            if any(wire.is_broken for wire in self._wires) or time.monotonic() > deadline:
                raise GeneratorError(f"{self._load.target.address} does not speak HTTP/2 without TLS")
            for wire in self._wires:
                wire.flush()
            for key, _ in self._selector.select(0.1):
                for _ in key.data.read():
                    pass
