"""An operator at the command line of a gateway that `portcullis up` runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.gateway import RunningGateway


def operate(gateway: RunningGateway, group: str, *arguments: str, given: str | None = None) -> Any:
    """Run `portcullis GROUP ARGUMENTS --json` on the state of `gateway`; what it printed."""
    command = [sys.executable, "-m", "portcullis", group, "--state-dir", str(gateway.state_dir)]
    done = run([*command, *arguments, "--json"], {"PATH": os.environ["PATH"]}, given=given)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(
    command: list[str], environment: Mapping[str, str], *, given: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; `given` is its standard input."""
    return subprocess.run(
        command, env=dict(environment), input=given or "", capture_output=True, text=True, check=False, timeout=60
    )
