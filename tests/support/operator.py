"""An operator at the command line of a gateway that `portcullis up` runs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from tests.support import forks

if TYPE_CHECKING:
    from tests.support.gateway import RunningGateway


def operate(gateway: RunningGateway, group: str, *arguments: str, given: str | None = None) -> Any:
    """Run `portcullis GROUP ARGUMENTS --json` on the state of `gateway`; what it printed."""
    command = ("portcullis", group, "--state-dir", str(gateway.state_dir), *arguments, "--json")
    done = forks.run(*command, environment={"PATH": os.environ["PATH"]}, given=given or "")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
