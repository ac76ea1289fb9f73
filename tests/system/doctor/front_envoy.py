"""An Envoy of the test at the gateway's public address, with the gateway's configuration changed in one way.

The gateway's own Envoy listens elsewhere meanwhile, so every other part is the real one. A change is a function
that gets the HTTP connection manager (the JSON of its typed configuration) and edits it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.envoy import envoy_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.gateway import RunningGateway

Json = dict[str, Any]

_PATIENCE = 60.0


@contextmanager
def front_envoy(gateway: RunningGateway, change: Callable[[Json], None]) -> Iterator[None]:
    """Envoy at the port of `gateway.url` while the block runs."""
    with tempfile.TemporaryDirectory(prefix="envoy-") as name:
        folder = Path(name)
        config, log, admin = folder / "envoy.json", folder / "log", folder / "admin.sock"
        config.write_text(json.dumps(_changed(gateway, change, admin)), encoding="utf-8")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [envoy_path(), "--config-path", config, "--disable-hot-restart", "--concurrency", "1"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_until_ready(process, admin, log)
            yield
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _changed(gateway: RunningGateway, change: Callable[[Json], None], admin: Path) -> Json:
    config: Json = json.loads((gateway.state_dir / "run" / "envoy.json").read_text(encoding="utf-8"))
    config["admin"]["address"] = {"pipe": {"path": str(admin)}}
    (listener,) = config["static_resources"]["listeners"]
    listener["address"]["socket_address"]["port_value"] = urlsplit(gateway.url).port
    change(listener["filter_chains"][0]["filters"][-1]["typed_config"])
    return config


def _wait_until_ready(process: subprocess.Popen[bytes], admin: Path, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not _is_ready(admin):
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        time.sleep(0.02)


def _is_ready(admin: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1)
        probe.connect(str(admin))
        probe.sendall(b"GET /ready HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")
        return b" 200 " in probe.recv(64)
    return False
