"""A gateway's edge with TLS: a real Envoy, a web server and a service behind it, and clients by TLS."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from portcullis.certificates import secret as secrets
from tests.envoy.check_service import CheckService, checking
from tests.envoy.process import Answer, Gate, running
from tests.envoy.upstream import Upstream, serving
from tests.support.ports import free_port
from tests.support.rates import OF_ENVOY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HOST = "gate.example.com"
TIME = "time.example.com"
_SECONDS = 60


@dataclass(frozen=True)
class Edge:
    """A running edge. `trusted` is the authority that callers trust; the plain listener is at `plain`."""

    settings: EnvoySettings
    gate: Gate
    plain: int
    trusted: Path
    web: Upstream
    time: Upstream
    checks: CheckService

    def context(self, **options: Any) -> ssl.SSLContext:
        """The context of an ordinary caller: it trusts one authority and checks the name."""
        context = ssl.create_default_context(cafile=str(self.trusted))
        for name, value in options.items():
            setattr(context, name, value)
        return context

    def connect(self, context: ssl.SSLContext | None = None, *, host: str = HOST) -> ssl.SSLSocket:
        """A TLS connection to the edge. Raises `ssl.SSLError`."""
        plain = socket.create_connection(("127.0.0.1", self.gate.port), timeout=_SECONDS)
        return (context or self.context()).wrap_socket(plain, server_hostname=host)

    def ask(
        self,
        path: str,
        *,
        method: str = "GET",
        host: str = HOST,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> Answer:
        """Send one request by TLS."""
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = self.connect(context, host=host)
        return _ask(connection, method, path, {"Host": host, **(headers or {})})

    def ask_plainly(self, path: str, *, method: str = "GET", host: str = HOST) -> Answer:
        """Send one request by plain HTTP, to the listener that redirects."""
        return _ask(
            http.client.HTTPConnection("127.0.0.1", self.plain, timeout=_SECONDS), method, path, {"Host": host}
        )


def _ask(connection: http.client.HTTPConnection, method: str, path: str, headers: Mapping[str, str]) -> Answer:
    with contextlib.closing(connection):
        connection.request(method, path, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextlib.contextmanager
def edge(trusted: Path, secret: Path, **more: Any) -> Iterator[Edge]:
    """Run an edge with the certificate in `secret` and plain HTTP at a free port; `more` are further settings."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pc-")))
        web = stack.enter_context(serving("oauth_web", folder / "web.sock"))
        time_ = stack.enter_context(serving("time", folder / "time.sock"))
        port = free_port()
        (redirect,) = more.pop("http_redirect_listen", (f"127.0.0.1:{free_port()}",))
        settings = EnvoySettings(
            issuer=f"https://{HOST}",
            services=(
                ServiceSettings(name="time", url=f"https://{TIME}/mcp", upstream=f"{time_.address}:/mcp"),
                ServiceSettings(name="notes", url="/notes/mcp", upstream=f"{time_.address}:/mcp"),
            ),
            envoy_listen=(f"127.0.0.1:{port}",),
            http_redirect_listen=(redirect,),
            envoy_admin=f"unix:{folder / 'admin.sock'}",
            web_upstream=(web.address,),
            authz_upstream=(f"unix:{folder / 'authz.sock'}",),
            **(OF_ENVOY | {"tls_secret": secret} | more),
        )
        if settings.tls_client_ca is not None:
            authorities = secrets.of_authorities_file(settings.tls_client_ca)
            settings.client_authorities_path.write_text(json.dumps(authorities), encoding="utf-8")
        checks = stack.enter_context(checking(folder / "authz.sock", settings.resolved_services))
        gate = stack.enter_context(running(settings, folder))
        yield Edge(settings, gate, int(redirect.rpartition(":")[2]), trusted, web, time_, checks)
