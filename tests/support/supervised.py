"""`portcullis up` for the tests of the supervisor itself, which inspect its processes and end them."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.ports import free_port
from tests.support.processes import descendants_of
from tests.support.programs import plain_environment, running, until
from tests.support.rates import UNREACHABLE

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONFIG = """
issuer = "http://localhost:8080"

[[services]]
name = "time"
url = "/time/mcp"
command = ["mcp-server-time", "--local-timezone", "UTC"]

[[services]]
name = "whoami"
url = "/whoami/mcp"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"
"""


@dataclass(frozen=True)
class Gateway:
    """A running `portcullis up`."""

    process: subprocess.Popen[bytes]
    log: Path
    state: Path

    @property
    def output(self) -> str:
        """All its output so far."""
        return self.log.read_text()

    @property
    def issuer(self) -> str:
        """The address after `ready`."""
        found = re.search(r"^ready (\S+)$", self.output, re.MULTILINE)
        assert found is not None
        return found[1]

    @property
    def processes(self) -> list[int]:
        """All its child processes and their children."""
        return descendants_of(self.process.pid)


@contextmanager
def gateway(
    folder: Path, config: str = CONFIG, environment: Mapping[str, str] | None = None, state: Path | None = None
) -> Iterator[Gateway]:
    """Run `portcullis up` with its state below `folder`. The block starts when it is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    file, log, state = folder / "portcullis.toml", folder / "up.log", state or folder / "state"
    file.write_text(config)
    arguments = ["up", "--config", str(file), "--state-dir", str(state), "--port", str(free_port())]
    with running(arguments, log, UNREACHABLE | dict(environment or plain_environment())) as process:

        def is_ready() -> bool:
            assert process.poll() is None, log.read_text()
            return "\nready " in log.read_text()

        until(is_ready, "the gateway to be ready", 110)
        yield Gateway(process, log, state)
