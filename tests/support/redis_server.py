"""A real Redis for a test: a separate process on a Unix socket, in its own folder.

    with running_redis(password="secret") as redis:
        client = redis.client()

A test can pause, kill and restart it, to test the behaviour of the product. Data is in memory only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from portcullis.programs.redis import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PATIENCE = 60.0


class RedisServer:
    """One Redis server. `socket` stays the same when it is stopped and started."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str | None,
        users: Mapping[str, Sequence[str]],
        lines: Sequence[str] = (),
        is_sentinel: bool = False,
        program: str | None = None,
    ) -> None:
        """`lines` are added to the configuration and override it; `program` is another server than
        the usual one.
        """
        self.program = program or redis_server(os.environ)
        self.socket = folder / "redis.sock"
        self.password = password
        self._config = folder / "redis.conf"
        self._log = folder / "redis.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._arguments = ["--sentinel"] if is_sentinel else []
        config = ["port 0", f"unixsocket {self.socket}", "unixsocketperm 700", 'save ""', f"dir {folder}"]
        if password:
            config.append(f"requirepass {password}")
        config += lines
        config += [f"user {name} {' '.join(rules)}" for name, rules in users.items()]
        # In a file, because every user of the machine can read a command line.
        self._config.write_text("\n".join(config) + "\n", encoding="utf-8")
        self._config.chmod(0o600)

    @property
    def is_running(self) -> bool:
        """Whether there is a process, even a paused one."""
        return self._process is not None

    def url(self, *, user: str | None = None) -> str:
        """The address without a password, for `REDIS_URL`."""
        return f"unix://{quote(user) + '@' if user else ''}{self.socket}?db=0"

    def client(self) -> Redis:
        """A blocking client with all rights. Close it, or use it in a `with`."""
        return Redis(unix_socket_path=str(self.socket), password=self.password, decode_responses=True)

    def start(self) -> None:
        """Start, and return when it answers."""
        assert self._process is None, "already running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.program, str(self._config), *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < deadline, self._log.read_text()
            time.sleep(0.01)

    def kill(self) -> None:
        """End it at once, as a crash would. Its data is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def pause(self) -> None:
        """Suspend it without closing a connection, as on a frozen machine."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Resume it. It processes all that was sent meanwhile."""
        self._signal(signal.SIGCONT)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisConnectionError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "not running"
        self._process.send_signal(number)


@contextmanager
def running_redis(
    *,
    password: str | None = None,
    users: Mapping[str, Sequence[str]] | None = None,
    program: str | None = None,
) -> Iterator[RedisServer]:
    """Run a server until the block ends. `users` are ACL users, by name, with their rules."""
    # Not pytest's folder: a socket's path must be under 108 characters, and names of tests are long.
    with tempfile.TemporaryDirectory(prefix="redis-") as folder:
        server = RedisServer(Path(folder), password=password, users=users or {}, program=program)
        server.start()
        try:
            yield server
        finally:
            server.kill()
