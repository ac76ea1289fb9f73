"""The whole gateway for a test, run as its users run it: `portcullis up` with its own state folder.

    with running_gateway() as gateway:
        httpx2.get(f"{gateway.url}/.well-known/oauth-authorization-server")

When the block ends it is stopped by SIGTERM. No process, socket or open port may remain.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis import Redis

from portcullis.cli.operator_settings import operator_settings
from portcullis.supervisor import operator_environment
from tests.support import forks
from tests.support.ports import free_port
from tests.support.processes import below, still_there
from tests.support.programs import until
from tests.support.project import ROOT
from tests.support.rates import UNREACHABLE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from oauth_core.crypto.record_authentication import RecordKey

_STARTING_SECONDS = 110.0
_STOPPING_SECONDS = 60.0

_REVOCATION_BOUND = "5"
"""Seconds. With the default, calls are refused on a busy machine when a check service waits for the processor."""

WHOAMI_ALONE = """
issuer = "http://localhost:8080"

[[services]]
name = "whoami"
url = "/whoami/mcp"
command = ["portcullis", "example-server", "--listen", "unix:{socket}"]
transport = "http"
"""
"""A settings file with the service that starts fastest, for tests that need a separate gateway."""


@dataclass(frozen=True)
class RunningGateway:
    """A gateway that printed `ready`."""

    url: str
    state_dir: Path
    process: subprocess.Popen[bytes]
    output: Path

    def resource(self, service: str) -> str:
        """The resource identifier, which is the URL, of a service."""
        return f"{self.url}/{service}/mcp"

    @property
    def record_key(self) -> RecordKey:
        """The key that authenticates the records of this gateway."""
        return operator_settings(None, self.state_dir, {}).record_key

    @property
    def audit_dir(self) -> Path:
        """The folder of the audit record."""
        return self.state_dir / "audit"

    def operator_redis(self) -> Redis:
        """A blocking client with an operator's rights, made from `operator.env`. Use it in a `with`."""
        operator = operator_environment.read(self.state_dir)
        password = Path(operator["REDIS_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()
        return Redis.from_url(operator["REDIS_URL"], password=password, decode_responses=True)

    def log(self, child: str) -> str:
        """Everything that a child has written so far."""
        return (self.state_dir / "logs" / f"{child}.log").read_text(encoding="utf-8")

    def logs(self) -> dict[str, str]:
        """The output of every child so far, by name."""
        return {path.stem: path.read_text(encoding="utf-8") for path in (self.state_dir / "logs").glob("*.log")}

    def entries(self, child: str) -> list[dict[str, Any]]:
        """The lines of JSON that a child has written so far, without an incomplete last one."""
        whole = self.log(child).rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def audit(self, child: str) -> list[dict[str, Any]]:
        """The audit events of `oauth_web` or `ext_authz`, oldest first.

        They are from the text, which a test gateway writes too: most of it is there before the answer is.
        """
        return [event for event in self.entries(child) if event.get("audit")]

    def audited(self, child: str, *, after: int = 0, **fields: str) -> dict[str, Any]:
        """The newest audit event of `child` with these fields, among those after the first `after`.

        It waits for one: the check service writes allowed requests in batches, a moment after their answers.
        """

        def found() -> list[dict[str, Any]]:
            return [event for event in self.audit(child)[after:] if fields.items() <= event.items()]

        until(found, f"{child} records {fields}")
        return found()[-1]


@contextmanager
def running_gateway(
    *, config: str | None = None, environ: Mapping[str, str] | None = None
) -> Iterator[RunningGateway]:
    """Run a gateway on a free port; `config` is the text of a settings file, by default the one users start with.

    It gets only the environment variables that every program needs, and `environ`. An `ISSUER` in it is not
    replaced, so that `ENVOY_LISTEN` can name another port, and a server of the test can use the issuer's. A
    gateway with a settings file of the test has one worker for checks, which starts sooner than one per core.
    No rate limit can be reached, except those in `environ`.
    """
    # Not pytest's folder: a socket's path must be under 108 characters, and names of tests are long.
    with tempfile.TemporaryDirectory(prefix="gateway-") as name:
        folder = Path(name)
        settings = ROOT / "portcullis.toml"
        if config is not None:
            settings = folder / "portcullis.toml"
            settings.write_text(config, encoding="utf-8")
            environ = {"AUTHZ_WORKERS": "1", **(environ or {})}
        usual = {**UNREACHABLE, "REVOCATION_BOUND": _REVOCATION_BOUND, "AUDIT_TEXT": "true"}
        state_dir, output = folder / "state", folder / "output"
        arguments = ["--config", str(settings), "--state-dir", str(state_dir)]
        if "ISSUER" not in (environ or {}):
            arguments += ["--port", str(free_port())]
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "portcullis", "up", *arguments],
                env={"PATH": os.environ["PATH"], "HOME": name, **usual, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            gateway = RunningGateway(_ready(process, output), state_dir, process, output)
            yield gateway
            _stop(gateway)
        finally:
            if process.poll() is None:
                process.kill()  # its children have a parent-death signal
                process.wait()


def _ready(process: subprocess.Popen[bytes], output: Path) -> str:
    """The URL in the line with `ready`."""
    deadline = time.monotonic() + _STARTING_SECONDS
    while True:
        text = output.read_text(encoding="utf-8")
        for line in text.splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                # On a busy machine `up` does not wait for a slow service. It reports this, and calls get 503.
                late = text.count("still starting; going on")
                has_all = late <= text.count("up at last") + text.count("ready again")
                if has_all or time.monotonic() > deadline:
                    return line.split()[1]
        assert process.poll() is None, text
        assert "\nready " in text or time.monotonic() < deadline, text
        time.sleep(0.05)


def _stop(gateway: RunningGateway) -> None:
    children = below(gateway.process.pid)
    gateway.process.send_signal(signal.SIGTERM)
    code = gateway.process.wait(_STOPPING_SECONDS)
    told = gateway.output.read_text(encoding="utf-8")
    assert code == 0, told
    assert told.endswith("Stopped.\n"), told
    assert not still_there(children)
    assert not (gateway.state_dir / "run").exists(), "sockets are left"
    with socket.socket() as probe:
        taken = probe.connect_ex(("127.0.0.1", urlsplit(gateway.url).port or 0)) == 0
    assert not taken, "the port is still open"


def operate(gateway: RunningGateway, group: str, *arguments: str, given: str | None = None) -> Any:
    """Run `portcullis GROUP ARGUMENTS --json` on the state of `gateway`. Return its output."""
    command = ("portcullis", group, "--state-dir", str(gateway.state_dir), *arguments, "--json")
    done = forks.run(*command, environment={"PATH": os.environ["PATH"]}, given=given or "")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
