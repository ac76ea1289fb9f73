"""Check services with several workers, and the state of each worker."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.support.authz_process import AuthzProcess, environ, running_authz
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer


def ready(authz: AuthzProcess) -> list[tuple[int, int]]:
    """Number and process id of every worker that has become ready, in order."""
    return [(event["worker"], event["pid"]) for event in authz.log() if event["event"] == "worker.ready"]


@contextlib.contextmanager
def two_workers(redis: RedisServer, transport: str, **more: str) -> Iterator[AuthzProcess]:
    """A check service with two serving workers."""
    settings = environ(redis, AUTHZ_TRANSPORT=transport, AUTHZ_WORKERS="2", **more)
    with running_authz(settings) as authz:
        until(lambda: len(ready(authz)) == 2)
        authz.wait_for_health("SERVING")
        yield authz
