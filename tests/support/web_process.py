"""A real authorization server for a test: `python -m oauth_web`, with Redis and the GitHub stand-in."""

from __future__ import annotations

import json
import os
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2

from tests.support import forks
from tests.support.master_key import MASTER_KEY
from tests.support.ports import free_port as free_port  # noqa: PLC0414 - tests take it from here too
from tests.support.rates import UNREACHABLE
from tests.support.redis_server import RedisServer, running_redis
from tests.support.refreshes import let_pass_since_refreshes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_PATIENCE = 60.0

_CONFIG = """
issuer = "{issuer}"

[[services]]
name = "time"
title = "Time and time zones"
url = "/time/mcp"
upstream = "http://127.0.0.1:1/mcp"

[[services]]
name = "notes"
title = "Notes"
url = "/notes/mcp"
upstream = "http://127.0.0.1:1/mcp"
"""


@dataclass(frozen=True)
class WebServer:
    """A running authorization server: its issuer, its Redis, and its log."""

    issuer: str
    redis: RedisServer
    log: Path
    environment: Mapping[str, str]

    def now_at_github(self, people: Mapping[str, Mapping[str, list[str] | str] | None]) -> None:
        """Change the members at the stand-in (`portcullis.github_standin.people.Changes`)."""
        fresh = self.log.with_name("people.fresh")
        fresh.write_text(json.dumps(people), encoding="utf-8")
        fresh.rename(self.log.with_name("people.json"))

    def let_pass_since_refreshes(self, refresh_token: str, seconds: int) -> None:
        """Move the refreshes of one sign-in this number of seconds further into the past."""
        with self.redis.client() as redis:
            let_pass_since_refreshes(redis, refresh_token, seconds)

    @property
    def resource(self) -> str:
        """The resource identifier of the first service."""
        return f"{self.issuer}/time/mcp"

    @property
    def other_resource(self) -> str:
        """The resource identifier of the second service."""
        return f"{self.issuer}/notes/mcp"


@contextmanager
def running_web(settings: Mapping[str, str] | None = None, *, more: str = "") -> Iterator[WebServer]:
    """An authorization server with these settings in its environment and `more` in its file, for the block.

    No rate limit can be reached, except those among the settings.
    """
    port, github_port = free_port(), free_port()
    issuer, github = f"http://localhost:{port}", f"http://127.0.0.1:{github_port}/_github"
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(password="redis-password-of-tests"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="web-")))
        config, log = folder / "portcullis.toml", folder / "web.log"
        config.write_text(_CONFIG.format(issuer=issuer) + more, encoding="utf-8")
        environment = {
            "PATH": os.environ["PATH"],
            "PORTCULLIS_CONFIG": str(config),
            "ISSUER": issuer,
            "WEB_LISTEN": f"127.0.0.1:{port}",
            "REDIS_URL": redis.url(),
            "REDIS_TIMEOUT": "20",  # no answer is late on a busy machine; tests of outages set their own timeout
            "REDIS_PASSWORD": "redis-password-of-tests",
            "MASTER_KEY": MASTER_KEY,
            "GITHUB_CLIENT_ID": "test-app",
            "GITHUB_CLIENT_SECRET": "github-secret-of-tests",
            "GITHUB_URL": github,
            "GITHUB_API_URL": f"{github}/api/v3",
            "ALLOWED_GITHUB_USERS": "octocat, Monalisa",
            **UNREACHABLE,
            **(settings or {}),
        }
        people = ["--people", str(folder / "people.json")]
        standin = ("github-standin", "--listen", f"127.0.0.1:{github_port}", *people)
        github_log = folder / "github.log"
        stack.enter_context(forks.running("portcullis", *standin, environment=environment, log=github_log))
        stack.enter_context(forks.running("oauth_web", environment=environment, log=log))
        _wait_for(f"{issuer}/healthz", log)
        _wait_for(f"http://127.0.0.1:{github_port}/_github/healthz", github_log)
        yield WebServer(issuer, redis, log, environment)


@contextmanager
def another_web(server: WebServer, settings: Mapping[str, str]) -> Iterator[str]:
    """Start a second process of the same authorization server, with other settings. Return its address."""
    port = free_port()
    log = server.log.with_name(f"another-{port}.log")
    environment = {**server.environment, "WEB_LISTEN": f"127.0.0.1:{port}", **settings}
    with forks.running("oauth_web", environment=environment, log=log):
        address = f"http://127.0.0.1:{port}"
        _wait_for(f"{address}/healthz", log)
        yield address


def _wait_for(url: str, log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            if httpx2.get(url).is_success:
                return
        except httpx2.TransportError:
            pass
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
