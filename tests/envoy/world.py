"""A gateway for tests: a real Envoy, servers behind it, and a check service."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.settings import EnvoySettings
from oauth_core.settings.envoy import SMALLEST_BODY_BUFFER
from oauth_core.settings.services import ServiceSettings
from tests.envoy.check_service import Check, CheckService, checking
from tests.envoy.process import Change, Gate, running, unchanged
from tests.envoy.upstream import Received, Upstream, serving
from tests.support.ports import free_port
from tests.support.rates import OF_ENVOY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oauth_core.settings.roles import PermissionSettings

APP = "https://app.example.com"
FILES = "files.example.com"
REQUEST_LIMIT = SMALLEST_BODY_BUFFER


@dataclass(frozen=True)
class World:
    """A gateway with its servers."""

    settings: EnvoySettings
    gate: Gate
    upstreams: tuple[Upstream, ...]
    checks: CheckService

    @property
    def received(self) -> list[Received]:
        """The requests that reached a server behind Envoy, in any order."""
        return [request for upstream in self.upstreams for request in upstream.received]

    def only_received(self) -> Received:
        """The one request that reached a server."""
        (request,) = self.received
        return request

    def only_asked(self) -> Check:
        """The one request that the check service received."""
        (check,) = self.checks.asked
        return check

    def forget(self) -> None:
        """Delete all records."""
        for upstream in self.upstreams:
            upstream.received.clear()
            upstream.more.clear()
        self.checks.asked.clear()
        self.checks.decide = self.checks.usual


@contextlib.contextmanager
def world_of(
    *,
    issuer: str,
    local: bool,
    change: Change = unchanged,
    rules: PermissionSettings | None = None,
    **fields: object,
) -> Iterator[World]:
    """A gateway with further settings, and with `rules` for the service `time`.

    `change` may modify the rendered configuration in ways that no setting allows.
    """
    with contextlib.ExitStack() as stack:
        # Not pytest's own folder: its path may be too long for a Unix socket.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        web = stack.enter_context(serving("oauth_web", folder / "web.sock"))
        time_ = stack.enter_context(serving("time", folder / "time.sock"))
        deep = stack.enter_context(serving("deep"))
        root = stack.enter_context(serving("root"))
        standin = stack.enter_context(serving("github_standin"))
        port = free_port()
        base = issuer.format(port=port)
        files = f"http://127.0.0.1:{port}" if local else f"https://{FILES}"
        usual = EnvoySettings(
            issuer=base,
            services=(
                ServiceSettings(name="time", url="/time/mcp", upstream=f"{time_.address}:/mcp", permissions=rules),
                ServiceSettings(name="deep", url="/time/mcp/deep", upstream=f"http://{deep.address}/a/b/"),
                ServiceSettings(name="root", url=files, upstream=f"http://{root.address}"),
            ),
            allowed_origins=(APP,),
            envoy_listen=(f"127.0.0.1:{port}",),
            envoy_admin=f"unix:{folder / 'admin.sock'}",
            web_upstream=(web.address,),
            authz_upstream=(f"unix:{folder / 'authz.sock'}",),
            standin_upstream=standin.address if local else None,
            max_request_bytes=REQUEST_LIMIT,
            **OF_ENVOY,
        )
        settings = usual.model_copy(update=fields)
        checks = stack.enter_context(checking(folder / "authz.sock", settings.resolved_services))
        gate = stack.enter_context(running(settings, folder, change=change))
        yield World(settings, gate, (web, time_, deep, root, standin), checks)
