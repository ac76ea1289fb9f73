"""Pebble, the ACME authority for tests, with its own DNS, which resolves every name to this machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.request import urlopen

from tests.support.ports import free_port
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.certificates import Authority

IS_HERE = shutil.which("pebble") is not None and shutil.which("pebble-challtestsrv") is not None


@dataclass
class Pebble:
    """A running authority.

    `directory` is its address, `ca_file` its own authority, `root` the one of its certificates.
    """

    directory: str
    ca_file: Path
    root: Path
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """Make the authority unreachable from now on."""
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def pebble(folder: Path, authority: Authority, *, http_port: int, validity: int = 86400) -> Iterator[Pebble]:
    """Run Pebble.

    It sends its challenges to `http_port`, and its certificates are valid for `validity` seconds.
    """
    listen, management, dns = free_port(), free_port(), free_port()
    identity = authority.identity("localhost")
    config = folder / "pebble.json"
    config.write_text(
        json.dumps(
            {
                "pebble": {
                    "listenAddress": f"127.0.0.1:{listen}",
                    "managementListenAddress": f"127.0.0.1:{management}",
                    "certificate": str(identity.cert),
                    "privateKey": str(identity.key),
                    "httpPort": http_port,
                    "tlsPort": 1,
                    "ocspResponderURL": "",
                    "certificateValidityPeriod": validity,
                }
            }
        ),
        encoding="utf-8",
    )
    off = [argument for name in ("http01", "https01", "tlsalpn01") for argument in (f"-{name}", "")]
    names = ["pebble-challtestsrv", "-dns01", f"127.0.0.1:{dns}", "-defaultIPv6", "", "-management", "", *off]
    serving = ["pebble", "-config", str(config), "-dnsserver", f"127.0.0.1:{dns}"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(_running(names, folder / "names.log"))
        process = stack.enter_context(_running(serving, folder / "pebble.log"))
        until(lambda: _listens(listen) and _listens(management), "Pebble to listen")
        root = folder / "root.pem"
        trusted = ssl.create_default_context(cafile=str(authority.cert))
        with urlopen(f"https://127.0.0.1:{management}/roots/0", context=trusted, timeout=60) as answer:
            root.write_bytes(answer.read())
        yield Pebble(f"https://127.0.0.1:{listen}/dir", authority.cert, root, process, folder / "pebble.log")


@contextlib.contextmanager
def _running(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    # Without these it waits for random times and refuses some valid requests, to test the retries of clients.
    environment = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
