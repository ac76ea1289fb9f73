"""A reader of standard output that stops reading: calls are refused after a while, and each allowed one is
recorded.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from typing import TYPE_CHECKING

from tests.support.authz_process import environ, remember, running_authz
from tests.support.check_messages import check_request, read_answer
from tests.support.processes import children_of
from tests.support.programs import until
from tests.support.tokens import mint

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.redis_server import RedisServer


_HANG_SECONDS = 4


class Reader:
    """The reading end of a pipe. A thread reads it until it is stopped."""

    def __init__(self, descriptor: int) -> None:
        self.data = b""
        self._descriptor = descriptor
        self._reads = threading.Event()
        self._reads.set()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._reads.clear()

    def resume(self) -> None:
        self._reads.set()

    def finish(self) -> None:
        """Return when the last writer has ended and everything is read."""
        self._thread.join(60)
        assert not self._thread.is_alive()

    def events(self, name: str) -> list[dict[str, object]]:
        lines = self.data.decode().splitlines()
        return [event for line in lines if (event := json.loads(line))["event"] == name]

    def _read(self) -> None:
        while self._reads.wait() and (data := os.read(self._descriptor, 65536)):
            self.data += data


def a_small_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def test_calls_are_refused_while_the_log_is_not_read_and_each_allowed_one_is_recorded_later(
    redis: RedisServer, key: SigningKey
) -> None:
    remember(redis, "jti-stalled")
    message = check_request(token=mint(key, jti="jti-stalled"))
    reading, writing = a_small_pipe()
    reader = Reader(reading)
    with running_authz(environ(redis, AUTHZ_HANG_SECONDS=str(_HANG_SECONDS)), stdout=writing) as authz:
        os.close(writing)
        authz.wait_for_health("SERVING")
        workers = children_of(authz.process.pid)
        assert read_answer(authz.check(message)).status == 200
        until(lambda: reader.events("access.allowed"), "the first line")
        reader.stop()
        allowed, statuses = 1, []

        def is_refused() -> bool:
            statuses.append(read_answer(authz.check(message)).status)
            return statuses[-1] == 503

        until(is_refused, "a refusal, since nobody reads")
        allowed += statuses.count(200)
        # For longer than a worker may be silent, each worker still answers and is not replaced.
        end = time.monotonic() + 1.5 * _HANG_SECONDS
        while time.monotonic() < end:
            assert read_answer(authz.check(message)).status == 503
            time.sleep(0.1)
        assert children_of(authz.process.pid) == workers
        reader.resume()
        until(lambda: len(reader.events("access.allowed")) == allowed, "every allowed call to be recorded")
        until(lambda: read_answer(authz.check(message)).status == 200, "calls to be allowed again")
        assert authz.terminate() == 0
    reader.finish()
    os.close(reading)
    assert len(reader.events("access.allowed")) == allowed + 1


def test_every_call_is_refused_after_the_reader_has_ended(redis: RedisServer, key: SigningKey) -> None:
    remember(redis, "jti-gone")
    message = check_request(token=mint(key, jti="jti-gone"))
    reading, writing = os.pipe()
    reader = Reader(reading)
    with running_authz(environ(redis), stdout=writing) as authz:
        os.close(writing)
        authz.wait_for_health("SERVING")
        reader.stop()
        until(lambda: b"server.listening" in reader.data, "the first lines")
        reader.resume()  # it is in the middle of a read, which the next line ends
        assert read_answer(authz.check(message)).status == 200
        until(lambda: reader.events("access.allowed"), "the line of the call")
        reader.stop()
        read_answer(authz.check(message))
        os.close(reading)
        until(lambda: read_answer(authz.check(message)).status == 503, "a refusal, since nobody can read")
        assert authz.health() == "SERVING"
        authz.terminate()
