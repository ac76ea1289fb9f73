"""Ports for the servers of tests. No other program of this machine receives one before the server listens."""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

_PORTS = range(10_240, 20_000)
"""Below the ports that systems choose for a connection. A port that the system chose for us is given to the next
connection of any program as soon as it is free again.
"""


def free_port(among: range = _PORTS, *, other: int = 0) -> int:
    """A loopback port without a listener, which no other call returns, also in another process of tests.

    The port that is `other` above it is free as well.
    """
    while True:
        port = among.start + secrets.randbelow(len(among))  # not `random`, whose seed Hypothesis sets
        if _is_free(port) and _is_free(port + other) and _reserved(port):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _reserved(port: int) -> bool:
    """Whether this process has reserved the port, which lasts until it ends."""
    folder = Path(tempfile.gettempdir()) / f"portcullis-test-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True  # the open file keeps the lock
