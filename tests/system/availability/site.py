"""A gateway of several machines, as far as processes can be machines: each program twice, and Redis in a group.

    with running_site(group) as site:
        site.webs[0].kill()

Callers use either Envoy; `load.py` does what a balancer or two addresses in the DNS do in earnest.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from oauth_core.store.client_cache.token_status import CHECK_ACL
from portcullis.envoy_config import render
from tests.envoy.upstream import serving
from tests.support.envoy import envoy_path
from tests.support.master_key import CHECK_KEYS, MASTER_KEY
from tests.support.oauth_client import OAuthClient
from tests.support.ports import free_port
from tests.support.programs import until
from tests.support.rates import OF_ENVOY, UNREACHABLE
from tests.system.availability.replicas import (
    Replica,
    asked_of_admin,
    healthy_by_grpc,
    healthy_by_http,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_groups import ClusterGroup, SentinelGroup

PASSWORD = "admin-password-of-tests"
CHECK_PASSWORD = "check-password-of-tests"
USERS = {"check": ("on", f">{CHECK_PASSWORD}", *CHECK_ACL)}

_CONFIG = """
issuer = "{issuer}"

[[services]]
name = "time"
url = "/time/mcp"
upstream = "http://127.0.0.1:1/mcp"
"""


@dataclass
class Envoy:
    """One Envoy: its address for callers, and whether the balancer before it sends any there."""

    replica: Replica
    port: int
    admin: Path
    takes_callers: bool = True

    def believes_in(self, port: int) -> bool:
        """Whether it sends requests to the program that listens on `port`."""
        return f":{port}::health_flags::healthy" in asked_of_admin(self.admin, "/clusters")

    def is_idle(self) -> bool:
        """Whether it has no request in progress."""
        return asked_of_admin(self.admin, "/stats?filter=^http.gateway.downstream_rq_active$").endswith(": 0\n")


@dataclass(frozen=True)
class Held:
    """The tokens that a client has of one grant."""

    client_id: str
    access_token: str
    refresh_token: str


@dataclass(frozen=True)
class Site:
    """A running gateway. `webs` and `checks` are by the port that each listens on."""

    issuer: str
    webs: dict[int, Replica]
    checks: dict[int, Replica]
    envoys: tuple[Envoy, ...]

    @property
    def resource(self) -> str:
        """The resource identifier of the service."""
        return f"{self.issuer}/time/mcp"

    def begin_again(self, port: int) -> None:
        """Start the program of `port` again. Return when every Envoy sends it requests."""
        replica = (self.webs | self.checks)[port]
        replica.start()
        replica.wait_until_ready()
        for envoy in self.envoys:
            until(partial(envoy.believes_in, port), f"an Envoy to believe in {port}")

    def sign_in(self, count: int) -> list[Held]:
        """Sign in `count` times."""
        return asyncio.run(self._sign_in(count))

    async def _sign_in(self, count: int) -> list[Held]:
        async with OAuthClient(self.issuer) as client:
            client_id = (await client.register()).client_id
            found = [await client.tokens(client_id, resource=self.resource) for _ in range(count)]
        return [Held(client_id, tokens["access_token"], tokens["refresh_token"]) for tokens in found]


@contextmanager
def running_site(group: SentinelGroup | ClusterGroup, *, of_each: int = 2) -> Iterator[Site]:
    """A gateway with `of_each` of our programs and of Envoy, and with `group` for its Redis."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="site-")))
        service = stack.enter_context(serving("time", folder / "time.sock"))
        ports = [free_port() for _ in range(of_each)]
        issuer, github = f"http://localhost:{ports[0]}", f"http://127.0.0.1:{free_port()}/_github"
        (folder / "portcullis.toml").write_text(_CONFIG.format(issuer=issuer), encoding="utf-8")
        environment = _environment(folder, group, issuer, github)
        standin_port = int(github.rpartition(":")[2].partition("/")[0])
        standin = Replica(
            [*_PYTHON, "portcullis", "github-standin", "--listen", f"127.0.0.1:{standin_port}"],
            environment,
            folder / "github.log",
            partial(_answers, standin_port),
        )
        webs = {port: _web(port, folder, environment) for port in (free_port() for _ in range(of_each))}
        checks = {port: _check(port, folder, environment, group) for port in (free_port() for _ in range(of_each))}
        settings = EnvoySettings(
            issuer=issuer,
            services=(ServiceSettings(name="time", url="/time/mcp", upstream=f"{service.address}:/mcp"),),
            web_upstream=tuple(f"127.0.0.1:{port}" for port in webs),
            authz_upstream=tuple(f"127.0.0.1:{port}" for port in checks),
            **OF_ENVOY,
        )
        envoys = tuple(_envoy(port, folder, settings) for port in ports)
        everything = [standin, *webs.values(), *checks.values(), *(envoy.replica for envoy in envoys)]
        for replica in everything:
            stack.callback(replica.kill)
            replica.start()
        for replica in everything:
            replica.wait_until_ready()
        for envoy in envoys:
            for port in (*webs, *checks):
                until(partial(envoy.believes_in, port), "an Envoy to believe in everybody")
        yield Site(issuer, webs, checks, envoys)


_PYTHON = (sys.executable, "-P", "-m")


def _environment(folder: Path, group: SentinelGroup | ClusterGroup, issuer: str, github: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PORTCULLIS_CONFIG": str(folder / "portcullis.toml"),
        "ISSUER": issuer,
        "REDIS_URL": group.url(),
        "REDIS_PASSWORD": PASSWORD,
        "MASTER_KEY": MASTER_KEY,
        **CHECK_KEYS,
        "GITHUB_CLIENT_ID": "test-app",
        "GITHUB_CLIENT_SECRET": "github-secret-of-tests",
        "GITHUB_URL": github,
        "GITHUB_API_URL": f"{github}/api/v3",
        "ALLOWED_GITHUB_USERS": "octocat",
        **UNREACHABLE,
        "REDIS_SENTINEL_PASSWORD": PASSWORD,
    }


def _web(port: int, folder: Path, environment: dict[str, str]) -> Replica:
    return Replica(
        [*_PYTHON, "oauth_web"],
        {**environment, "WEB_LISTEN": f"127.0.0.1:{port}"},
        folder / f"web-{port}.log",
        partial(healthy_by_http, port),
    )


def _check(port: int, folder: Path, environment: dict[str, str], group: SentinelGroup | ClusterGroup) -> Replica:
    own = {
        "AUTHZ_LISTEN": f"127.0.0.1:{port}",
        "AUTHZ_WORKERS": "1",
        "REDIS_URL": group.url(user="check"),
        "REDIS_PASSWORD": CHECK_PASSWORD,
    }
    kept = {name: value for name, value in environment.items() if not name.startswith(("MASTER_", "GITHUB_"))}
    return Replica(
        [*_PYTHON, "ext_authz"], {**kept, **own}, folder / f"check-{port}.log", partial(healthy_by_grpc, port)
    )


def _envoy(port: int, folder: Path, settings: EnvoySettings) -> Envoy:
    admin, config = folder / f"admin-{port}.sock", folder / f"envoy-{port}.json"
    own = settings.model_copy(update={"envoy_listen": (f"127.0.0.1:{port}",), "envoy_admin": f"unix:{admin}"})
    config.write_text(json.dumps(render(own)), encoding="utf-8")
    options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warn")
    replica = Replica(
        [envoy_path(), "-c", config, *options],
        {"PATH": os.environ["PATH"]},
        folder / f"envoy-{port}.log",
        lambda: asked_of_admin(admin, "/ready") == "LIVE\n",
    )
    return Envoy(replica, port, admin)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
