"""The operator's command for clients, run against the server under test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support import forks

if TYPE_CHECKING:
    from tests.support.web_process import WebServer


def clients(web: WebServer, *arguments: str, expect: int = 0) -> Any:
    """Run the operator's command. Return its JSON, or its text on standard error."""
    done = forks.run("portcullis", "clients", *arguments, environment=web.environment)
    assert done.returncode == expect, done.stderr
    return json.loads(done.stdout) if "--json" in arguments and expect == 0 else done.stderr + done.stdout
