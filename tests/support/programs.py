"""Starts one of our programs for a test, waits until it answers, and ends it."""

from __future__ import annotations

import os
import socket as socketlib
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PATIENCE = 60.0
PORTCULLIS = [sys.executable, "-P", "-m", "portcullis"]


def plain_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of ours, and with our commands on PATH."""
    ours = ("ISSUER", "GITHUB_", "REDIS_", "MASTER_KEY", "PORTCULLIS_", "ALLOWED_", "ENVOY_")
    habits = ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE")  # those of the person who runs the tests
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*ours, *habits))}
    kept["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"
    return kept | more


def until(condition: Callable[[], object], what: str = "the condition", patience: float = PATIENCE) -> None:
    """Poll until `condition()` is true; fail the test if it is not true in time."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


@contextmanager
def running(
    arguments: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run `portcullis ARGUMENTS` with its output in `log`; end it afterwards if it still runs."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*PORTCULLIS, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment or plain_environment()),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


@contextmanager
def serving(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, path: str = "/mcp"
) -> Iterator[Path]:
    """Run `portcullis ARGUMENTS --listen unix:SOCKET -- ...` until it answers over HTTP. Yields the socket.

    `--listen` is put after the first argument.
    """
    socket, log = folder / "server.sock", folder / "server.log"
    listen = [arguments[0], "--listen", f"unix:{socket}", *arguments[1:]]
    with running(listen, log, environment) as process:

        def listens() -> bool:
            assert process.poll() is None, log.read_text()
            with socketlib.socket(socketlib.AF_UNIX) as probe:
                return probe.connect_ex(str(socket)) == 0

        until(listens, f"{arguments[0]} to listen")
        with client_of(socket) as client:
            client.get(path)
        yield socket


def client_of(socket: Path) -> httpx2.Client:
    """An HTTP client whose every request goes to a Unix socket."""
    return httpx2.Client(transport=httpx2.HTTPTransport(uds=str(socket)), base_url="http://localhost", timeout=60)
