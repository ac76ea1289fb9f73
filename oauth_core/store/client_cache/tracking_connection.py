"""The tracking connection: one RESP3 connection on which Redis answers and announces changes of the keys it read.

It sends commands and delivers answers and invalidations strictly in order, and ends at any irregularity.
`oauth_core.store.client_cache.token_cache` explains the consequences.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Never, Protocol

from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio import Redis
    from redis.asyncio.connection import AbstractConnection

_HEARTBEATS_IN_BOUND = 4


class Listener(Protocol):
    """Receives the events of a connection, in the order in which they happened."""

    def answered(self, sent_at: float) -> None:
        """Redis has answered a heartbeat that was sent at `sent_at`."""

    def invalidated(self, keys: list[bytes] | None) -> None:
        """These keys, or all of them, may have changed."""


class _Sent(NamedTuple):
    sent_at: float
    on_answer: Callable[[Any], None]
    on_lost: Callable[[], None]


class _Invalidated(NamedTuple):
    keys: list[bytes] | None


class TrackingConnection:
    """An open tracking connection.

    `open_tracking_connection` makes one, `run` reads it until it is lost, and `send` asks on it.
    """

    def __init__(
        self, connection: AbstractConnection, listener: Listener, *, bound: float, clock: Callable[[], float]
    ) -> None:
        self._connection = connection
        self._received: Any = connection._reader  # noqa: SLF001
        self._listener = listener
        self._bound = bound
        self._clock = clock
        self._unanswered: deque[_Sent] = deque()
        self._outbox: list[bytes] = []
        self._something_to_send = asyncio.Event()
        self._is_over = False

    @property
    def has_unread(self) -> bool:
        """Whether data was received that the listener has not processed yet.

        The event loop delivers all received data before the next task runs.
        """
        # There is no public interface for this.
        return bool(self._received._buffer)  # noqa: SLF001

    def send(self, *command: str, on_answer: Callable[[Any], None], on_lost: Callable[[], None]) -> None:
        """Send a command. Exactly one of the callbacks is called, once.

        `on_answer` gets the reply, which may be a `ResponseError`. `on_lost` is called if the connection ends.
        """
        if self._is_over:
            on_lost()
            return
        # Use the earlier timestamp, before the command is sent, so that staleness is over-estimated.
        self._unanswered.append(_Sent(self._clock(), on_answer, on_lost))
        self._outbox += self._connection.pack_command(*command)
        self._something_to_send.set()

    async def run(self) -> Never:
        """Run until the connection is lost. Raises a `RedisError` or `OSError` with the cause."""
        # No task group: before Python 3.13 a group that is cancelled while an error ends it forgets the
        # cancellation.
        tasks = [asyncio.create_task(work) for work in (self._read(), self._write(), self._send_heartbeats())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        raise AssertionError("none of the three ends by itself")

    async def close(self) -> None:
        """Close the connection; calls `on_lost` of every command without an answer."""
        self._is_over = True
        while self._unanswered:
            self._unanswered.popleft().on_lost()
        await self._connection.disconnect(nowait=True)

    async def _read(self) -> Never:
        while True:
            try:
                item = await self._connection.read_response(
                    disable_decoding=True, timeout=math.inf, disconnect_on_error=False, push_request=True
                )
            except ResponseError as error:
                item = error  # a refusal is an answer too
            if isinstance(item, _Invalidated):
                self._listener.invalidated(item.keys)
            elif self._unanswered and not isinstance(item, list):
                self._unanswered.popleft().on_answer(item)
            else:
                raise RedisConnectionError("Redis sent an answer without a question")

    async def _write(self) -> Never:
        while True:
            await self._something_to_send.wait()
            self._something_to_send.clear()
            packed, self._outbox = self._outbox, []
            if not self._connection.is_connected:
                # Sending would reconnect silently and without tracking.
                raise RedisConnectionError("the connection is closed")
            await self._connection.send_packed_command(packed, check_health=False)

    async def _send_heartbeats(self) -> Never:
        while True:
            now = self._clock()
            if self._unanswered and now - self._unanswered[0].sent_at > self._bound:
                raise RedisTimeoutError("Redis has been silent for too long")
            self.send("PING", on_answer=partial(self._heartbeat_answered, now), on_lost=_ignore_loss)
            await asyncio.sleep(self._bound / _HEARTBEATS_IN_BOUND)

    def _heartbeat_answered(self, sent_at: float, answer: object) -> None:
        # Redis answers PING with MISCONF while it cannot write to its disk. Its order and its data do not change,
        # so this proves as much as any answer.
        if not isinstance(answer, ResponseError) or str(answer).startswith("MISCONF"):
            self._listener.answered(sent_at)


async def open_tracking_connection(
    redis: Redis, listener: Listener, *, bound: float, clock: Callable[[], float]
) -> TrackingConnection:
    """Connect as `redis` would, with tracking. Raises a `RedisError`, `OSError` or `TimeoutError`.

    `bound` is how long, in seconds of `clock`, Redis may be silent; connecting takes no longer either.
    """
    pool = redis.connection_pool
    connection = pool.connection_class(
        **{
            **pool.connection_kwargs,
            "protocol": 3,
            "decode_responses": False,
            "socket_timeout": None,  # the heartbeat notices silence
            "retry": Retry(NoBackoff(), 0),
        }
    )
    try:
        async with asyncio.timeout(bound):
            await connection.connect()  # type: ignore[no-untyped-call]
            # The asyncio client has no public interface for invalidations.
            connection._get_parser().set_invalidation_push_handler(_invalidated)  # type: ignore[attr-defined] # noqa: SLF001
            await connection.send_command("CLIENT", "TRACKING", "ON", check_health=False)
            await connection.read_response()
    except BaseException:
        await connection.disconnect(nowait=True)
        raise
    return TrackingConnection(connection, listener, bound=bound, clock=clock)


async def _invalidated(push: list[Any]) -> _Invalidated:
    return _Invalidated(push[1])


def _ignore_loss() -> None:
    """Ignore the loss of a heartbeat: no caller waits for it."""
