"""A Go server that answers OK and does nothing: what gRPC itself costs. Its source is in `go_noop_server`."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oauth_core.process.ports import free_port
from portcullis.bench import children
from portcullis.bench.plan import Target
from portcullis.bench.target import MeasuredService
from portcullis.supervisor.environment import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portcullis.bench.fixture import BenchFixture

PROGRAM = "portcullis-go-noop"
_HINT = "build it from portcullis/bench/peers/go_noop_server; see docs/peers.md"


def is_installed() -> bool:
    """Whether the program is on PATH."""
    return children.is_there((PROGRAM,), os.environ)


@contextmanager
def running(fixture: BenchFixture, url: str) -> Iterator[MeasuredService]:
    """The server on a free loopback port. Raises `BenchFixtureError`."""
    address = f"127.0.0.1:{free_port()}"
    command = [children.find((PROGRAM,), os.environ, hint=_HINT), "-listen", address]
    with children.running(
        "go-noop", command, plain(os.environ), fixture.folder, lambda: children.listens(address)
    ) as pid:
        # It does not know the caller, so its answers need not name one.
        target = Target(address, "check", url, identity=False)
        yield MeasuredService("go-noop", target, fixture.pool, {"service": pid})
