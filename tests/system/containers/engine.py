"""The Docker engine of the tests: the one that answers here, or their own.

`make test-containers` sets `START_ENGINE`: if no engine answers, Debian's is installed if necessary and started
with its own folder and socket, which needs root, and ended again. The folder stays, so that the base images are
there the next time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import docker
from docker.errors import DockerException

if TYPE_CHECKING:
    from collections.abc import Iterator

    from docker import DockerClient

_FOLDER = Path("/var/tmp/portcullis-test-engine")  # noqa: S108 - root's own; made with mode 700
_PACKAGES = ("docker.io", "docker-compose", "iptables", "debootstrap")
_INSTALLING_SECONDS = 600
_STARTING_SECONDS = 60
_ANSWER_SECONDS = 300


class NoEngineError(Exception):
    """There is no engine to test with. The message has the reason."""


@dataclass(frozen=True)
class Engine:
    """A client of the engine, and the value of `DOCKER_HOST` with which programs find it."""

    client: DockerClient
    host: str
    is_ours: bool


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """An engine that answers. Raises `NoEngineError`."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    silence = _silence(host)
    if silence is None:
        yield from _connected(host, is_ours=False)
    elif "START_ENGINE" not in os.environ:
        raise NoEngineError(f"no Docker engine answers at {host}: {silence}; `make test-containers` starts one")
    else:
        with _started() as own:
            yield from _connected(own, is_ours=True)


def _connected(host: str, *, is_ours: bool) -> Iterator[Engine]:
    try:
        client = docker.DockerClient(base_url=host, timeout=_ANSWER_SECONDS)
    except DockerException as error:
        raise NoEngineError(f"no Docker engine answers at {host}: {error}") from error
    with contextlib.closing(client):
        yield Engine(client, host, is_ours)


def _silence(host: str) -> str | None:
    """Why no engine answers, or `None`.

    Connects before the library does, because that leaves its socket open on a failure.
    """
    if not host.startswith("unix://"):
        return None
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(host.removeprefix("unix://"))
        except OSError as error:
            return error.strerror or str(error)
    return None


@contextlib.contextmanager
def _started() -> Iterator[str]:
    """Our own engine while the block runs; the value for `DOCKER_HOST`."""
    if os.geteuid() != 0:
        raise NoEngineError("to start a Docker engine needs root")
    if shutil.which("dockerd") is None:
        _install()
    _FOLDER.mkdir(mode=0o700, exist_ok=True)
    # The pid file of a killed engine would prevent the start.
    (_FOLDER / "pid").unlink(missing_ok=True)
    host = f"unix://{_FOLDER}/docker.sock"
    log = _FOLDER / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                *("dockerd", "--host", host, "--pidfile", _FOLDER / "pid", "--bridge", "none"),
                *("--data-root", _FOLDER / "data", "--exec-root", _FOLDER / "exec"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + _STARTING_SECONDS
        while _silence(host) is not None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise NoEngineError(f"the Docker engine did not start:\n{log.read_text(encoding='utf-8')[-2000:]}")
            time.sleep(0.1)
        yield host
    finally:
        process.terminate()
        process.wait()


def _install() -> None:
    if shutil.which("apt-get") is None:
        raise NoEngineError("there is no dockerd here, and no apt-get to install it")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *_PACKAGES]):
        try:
            subprocess.run(
                ["apt-get", *command], check=True, env=environ, timeout=_INSTALLING_SECONDS, stdout=sys.stderr
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise NoEngineError(f"Debian's Docker engine cannot be installed: {error}") from error
