"""The command `portcullis`, run on the state of a test."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING

from tests.support import forks

if TYPE_CHECKING:
    import subprocess

    from tests.support.web_process import WebServer


def new_key() -> str:
    """A fresh master key."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def portcullis(environment: dict[str, str], *arguments: str, fails: bool = False) -> str:
    """Run the command with these variables. Return its standard error."""
    done = forks.run("portcullis", *arguments, environment=environment)
    assert (done.returncode != 0) is fails, done.stderr
    return done.stderr


def operate(web: WebServer, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command with the variables of `web` and these. It must succeed."""
    done = forks.run("portcullis", *arguments, environment={**web.environment, **environment})
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done
