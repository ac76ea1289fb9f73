"""Check services with several workers, and what is known of each worker."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.authz_process import AuthzProcess, environ, running_authz

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.redis_server import RedisServer

_PATIENCE = 60.0


def eventually(what: Callable[[], object]) -> None:
    """Return once `what()` is true; fail if that does not come."""
    deadline = time.monotonic() + _PATIENCE
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ready(authz: AuthzProcess) -> list[tuple[int, int]]:
    """Number and process id of every worker that ever became ready, in order."""
    return [(event["worker"], event["pid"]) for event in authz.log() if event["event"] == "worker.ready"]


def is_alive(pid: int) -> bool:
    """Whether this process is there, and more than a zombie."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    return False


@contextlib.contextmanager
def two_workers(redis: RedisServer, transport: str, **more: str) -> Iterator[AuthzProcess]:
    """A check service of which both workers serve."""
    settings = environ(redis, AUTHZ_TRANSPORT=transport, AUTHZ_WORKERS="2", **more)
    with running_authz(settings) as authz:
        eventually(lambda: len(ready(authz)) == 2)
        authz.wait_for_health("SERVING")
        yield authz
