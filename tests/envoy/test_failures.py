"""When a server behind Envoy is unreachable or broken, no call is allowed, and callers learn only
when to retry.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from envoy_data_plane.envoy.service.auth.v3 import CheckResponse
from envoy_data_plane.google.rpc import Status

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from portcullis.envoy_config import SYSTEM_CAS
from tests.envoy.check_service import GOOD, checking
from tests.envoy.process import Gate, running
from tests.envoy.upstream import Upstream, serving
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.envoy.world import World


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pc-") as name:
        yield Path(name)


@contextlib.contextmanager
def _lone_gate(folder: Path, upstream: str, **more: str) -> Iterator[Gate]:
    port = free_port()
    settings = EnvoySettings.model_validate(
        {
            "issuer": f"http://localhost:{port}",
            "services": (ServiceSettings(name="time", upstream=upstream),),
            "envoy_listen": (f"127.0.0.1:{port}",),
            "envoy_admin": f"unix:{folder / 'admin.sock'}",
            "authz_upstream": f"unix:{folder / 'authz.sock'}",
            "web_upstream": f"unix:{folder / 'nobody.sock'}",
            **more,
        }
    )
    with running(settings, folder) as gate:
        yield gate


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with serving("time") as server:
        yield server


def test_without_a_check_service_every_call_is_503_and_reaches_no_service(
    folder: Path, upstream: Upstream
) -> None:
    upstream.received.clear()
    with _lone_gate(folder, f"http://{upstream.address}/mcp") as gate:
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            answer = gate.ask("/time/mcp", method=method, headers=GOOD)
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) > 0
            assert "www-authenticate" not in answer.headers
            assert answer.json["error"]["data"]["error"] == "temporarily_unavailable"
        web = gate.ask("/token")
        assert (web.status, web.json) == (503, {"error": "temporarily_unavailable"})
        assert int(web.headers["retry-after"]) > 0
    assert upstream.received == []


def test_every_call_is_503_when_the_check_service_never_answers(folder: Path, upstream: Upstream) -> None:
    upstream.received.clear()
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(folder / "silent.sock"))
        silent.listen()
        address = f"unix:{folder / 'silent.sock'}"
        with _lone_gate(folder, f"http://{upstream.address}/mcp", authz_upstream=address) as gate:
            assert gate.ask("/time/mcp", headers=GOOD).status == 503
    assert upstream.received == []


def test_every_call_is_503_when_the_check_service_fails(world: World) -> None:
    def fail(_: object) -> CheckResponse:
        raise RuntimeError

    world.checks.decide = fail
    answer = world.gate.ask("/time/mcp", headers=GOOD)
    assert answer.status == 503
    assert int(answer.headers["retry-after"]) > 0
    assert world.received == []


def test_an_empty_denial_refuses_the_call(world: World) -> None:
    world.checks.decide = lambda _: CheckResponse(status=Status(code=16))
    assert world.gate.ask("/time/mcp", headers=GOOD).status == 403
    assert world.received == []


def test_an_unreachable_service_is_503_and_its_address_stays_secret(folder: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with _lone_gate(folder, f"http://127.0.0.1:{port}/mcp") as gate:
            issuer_host = f"localhost:{gate.port}"
            services = EnvoySettings(
                issuer=f"http://{issuer_host}", services=(ServiceSettings(name="time", upstream="http://x/mcp"),)
            ).resolved_services
            with checking(folder / "authz.sock", services):
                answer = gate.ask("/time/mcp", headers=GOOD)
    assert (answer.status, answer.json["jsonrpc"], answer.json["id"]) == (503, "2.0", None)
    assert answer.json["error"]["code"] == 503
    assert answer.headers["content-type"] == "application/json"
    assert int(answer.headers["retry-after"]) > 0


@pytest.fixture(scope="module")
def certificate(folder: Path) -> tuple[Path, Path]:
    key, chain = folder / "key.pem", folder / "cert.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subprocess.run(
        ["openssl", "req", "-x509", *curve, *subject, "-keyout", key, "-out", chain],
        check=True,
        capture_output=True,
    )
    return key, chain


@pytest.mark.parametrize(
    ("trusted", "host", "status"),
    [(True, "localhost", 200), (False, "localhost", 503), (True, "127.0.0.1", 503)],
    ids=["trusted", "unknown authority", "certificate of another host"],
)
def test_an_https_service_needs_a_valid_certificate(
    folder: Path, certificate: tuple[Path, Path], trusted: bool, host: str, status: int
) -> None:
    key, chain = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    with serving("tls", tls=context) as server:
        port = server.address.rpartition(":")[2]
        cas = str(chain) if trusted else SYSTEM_CAS
        gate_port = free_port()
        settings = EnvoySettings(
            issuer=f"http://localhost:{gate_port}",
            services=(ServiceSettings(name="time", upstream=f"https://{host}:{port}/mcp"),),
            envoy_listen=(f"127.0.0.1:{gate_port}",),
            envoy_admin=f"unix:{folder / 'admin.sock'}",
            authz_upstream=(f"unix:{folder / 'authz.sock'}",),
        )
        with (
            checking(folder / "authz.sock", settings.resolved_services),
            running(settings, folder, trusted_cas=cas) as gate,
        ):
            assert gate.ask("/time/mcp", headers=GOOD).status == status
        assert [request.headers["host"] for request in server.received] == (
            [[f"{host}:{port}"]] if status == 200 else []
        )
