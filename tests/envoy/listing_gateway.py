"""A rendered Envoy, the real check service and an MCP service that a test scripts."""

from __future__ import annotations

import contextlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oauth_core.settings import EnvoySettings
from oauth_core.settings.roles import PermissionSettings
from oauth_core.settings.services import ServiceSettings
from tests.envoy.listing_service import Answering, ListingService, listing
from tests.envoy.process import Answer, Change, Gate, running, unchanged
from tests.support.authz_process import USERS, AuthzProcess, environ, publish, remember, running_authz
from tests.support.master_key import CHECK_KEYS
from tests.support.ports import free_port
from tests.support.rates import OF_ENVOY
from tests.support.redis_server import running_redis
from tests.support.tokens import mint, new_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from oauth_core.jose.signing_keys import SigningKey

ISSUER = "https://gate.example.com"
RULES: dict[str, Any] = {
    "tools": {"get_*": "mcp.time.read", "*": "mcp.time.write"},
    "prompts": {"get_*": "mcp.time.read", "*": "mcp.time.write"},
    "resources": {"note://public/*": "mcp.time.read", "*": ["mcp.time.read", "mcp.time.write"]},
}
CONFIG = f"""\
issuer = "{ISSUER}"

[[services]]
name = "time"
url = "/time/mcp"
upstream = "http://127.0.0.1:1/mcp"
[services.permissions]
tools = {{ "get_*" = "mcp.time.read", "*" = "mcp.time.write" }}
prompts = {{ "get_*" = "mcp.time.read", "*" = "mcp.time.write" }}
resources = {{ "note://public/*" = "mcp.time.read", "*" = ["mcp.time.read", "mcp.time.write"] }}

[[services]]
name = "plain"
url = "/plain/mcp"
upstream = "http://127.0.0.1:1/mcp"
"""
TOOLS: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 7,
    "result": {"tools": [{"name": "get_time"}, {"name": "set_time"}], "nextCursor": "c2"},
}
"""The usual answer of the service. A reader may see its first tool."""

SEEN = TOOLS | {"result": {"tools": [{"name": "get_time"}], "nextCursor": "c2"}}


def as_usual(one: Answering) -> None:
    """Answer with `TOOLS`, as JSON."""
    one.whole(json.dumps(TOOLS).encode())


@dataclass(frozen=True)
class ListingGateway:
    """A running gateway."""

    gate: Gate
    service: ListingService
    authz: AuthzProcess
    key: SigningKey

    def headers(self, scope: str = "mcp.time.read", **claims: Any) -> dict[str, str]:
        """The headers of a caller with this scope."""
        audience = (f"{ISSUER}/time/mcp", f"{ISSUER}/plain/mcp")
        token = mint(self.key, iss=ISSUER, aud=audience, scope=scope, jti="lists", **claims)
        return {"Authorization": f"Bearer {token}", "Accept": "application/json, text/event-stream"}

    def ask(
        self,
        method: str = "tools/list",
        *,
        path: str = "/time/mcp",
        scope: str = "mcp.time.read",
        headers: Mapping[str, str] | None = None,
        request_id: object = 7,
        params: object = None,
    ) -> Answer:
        """Call an MCP method."""
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": request_id, "method": method}
        if params is not None:
            message["params"] = params
        sent = self.headers(scope) | dict(headers or {})
        return self.gate.ask(path, method="POST", headers=sent, body=json.dumps(message).encode())

    def forget(self) -> None:
        """Let the service answer as usual."""
        self.service.script = as_usual
        self.service.asked.clear()
        self.service.released.clear()


@contextlib.contextmanager
def running_listing_gateway(*, change: Change = unchanged, **variables: str) -> Iterator[ListingGateway]:
    """Run a gateway until the context ends. `variables` are for the check service."""
    key = new_key()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        redis = stack.enter_context(running_redis(password="admin-password-of-tests", users=USERS))
        publish(redis, key)
        remember(redis, "lists")
        authz = stack.enter_context(running_authz({**environ(redis), **CHECK_KEYS, **variables}, config=CONFIG))
        service = stack.enter_context(listing(folder / "time.sock", as_usual))
        settings = EnvoySettings(
            issuer=ISSUER,
            services=(
                ServiceSettings(
                    name="time",
                    url="/time/mcp",
                    upstream=f"{service.address}:/mcp",
                    permissions=PermissionSettings.model_validate(RULES),
                ),
                ServiceSettings(name="plain", url="/plain/mcp", upstream=f"{service.address}:/mcp"),
            ),
            envoy_listen=(f"127.0.0.1:{free_port()}",),
            envoy_admin=f"unix:{folder / 'admin.sock'}",
            web_upstream=(f"unix:{folder / 'web.sock'}",),
            authz_upstream=(authz.address,),
            **OF_ENVOY,
        )
        gate = stack.enter_context(running(settings, folder, change=change))
        authz.wait_for_health("SERVING")
        yield ListingGateway(gate, service, authz, key)
