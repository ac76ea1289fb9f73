"""Behind real proxies, configured as in `docs/proxies.md`, callers are counted apart and requests arrive
unchanged.
"""

from __future__ import annotations

import http.client
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.envoy.check_service import GOOD
from tests.envoy.process import free_port
from tests.envoy.world import World, world_of
from tests.support.project import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "proxies.md"
HOST = "gate.example.com"
PROXIES = ("nginx", "haproxy")
_PATIENCE = 20.0


def _from_page(name: str, *, port: int, gateway: int) -> str:
    """The configuration on the page, with the ports of this test."""
    page = PAGE.read_text(encoding="utf-8")
    found = re.search(rf"<!-- begin {name} -->\n```{name}\n(.*?)```\n<!-- end {name} -->", page, re.DOTALL)
    assert found is not None
    return (
        found[1].replace("127.0.0.1:8080", f"127.0.0.1:{gateway}").replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    )


def _command(name: str, text: str, folder: Path) -> list[str]:
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed; tests/programs.sh installs it on Debian")
    config = folder / f"{name}.conf"
    if name == "nginx":
        places = "".join(
            f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        text = f"pid {folder}/pid; error_log stderr; events {{}}\nhttp {{ access_log off;\n{places}{text} }}\n"
    config.write_text(text, encoding="utf-8")
    if name == "nginx":
        return [program, "-p", str(folder), "-c", str(config), "-g", "daemon off; master_process off;"]
    return [program, "-db", "-f", str(config)]


@contextmanager
def _running(name: str, gateway: int, *, change: tuple[str, str] = ("", "")) -> Iterator[int]:
    """The proxy before the gateway at that port. Yields the proxy's port."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
        text = _from_page(name, port=port, gateway=gateway).replace(*change)
        with (Path(folder) / "log").open("wb") as log:
            command = _command(name, text, Path(folder))
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait_for(port, process, Path(folder) / "log")
            yield port
        finally:
            process.terminate()
            process.wait(_PATIENCE)


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.02)
        else:
            return


@pytest.fixture(scope="module")
def _gateway() -> Iterator[World]:
    with world_of(issuer=f"https://{HOST}", local=False, trusted_proxies=1) as world:
        yield world


@pytest.fixture
def gateway(_gateway: World) -> World:
    _gateway.forget()
    return _gateway


@pytest.fixture(scope="module", params=PROXIES)
def proxy(_gateway: World, request: pytest.FixtureRequest) -> Iterator[int]:
    """The port of a proxy before the gateway."""
    with _running(request.param, _gateway.gate.port) as port:
        yield port


def _asked(
    port: int,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    *,
    source: str = "127.0.0.1",
    body: str = "",
) -> int:
    """The status of a request through the proxy, from that address of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE, source_address=(source, 0))
    with closing(connection):
        connection.request(method, path, body or None, {"Host": HOST, **(headers or {})})
        return connection.getresponse().status


def test_the_address_is_the_real_one_and_not_the_one_that_the_caller_claims(gateway: World, proxy: int) -> None:
    for source in ("127.0.0.2", "127.0.0.3"):
        gateway.forget()
        claims = {"X-Forwarded-For": "192.0.2.1", "X-Portcullis-Address": "192.0.2.1", "X-Real-IP": "192.0.2.1"}
        assert _asked(proxy, "GET", "/healthz", claims, source=source) == 200
        assert gateway.only_received().headers["x-portcullis-address"] == [source]


def test_host_path_body_and_token_arrive_unchanged(gateway: World, proxy: int) -> None:
    headers = {**GOOD, "Content-Type": "application/json"}
    assert _asked(proxy, "POST", "/time/mcp/a%20b?c=%2F", headers, body='{"x": 1}') == 200
    request = gateway.only_received()
    assert (request.target, request.body) == ("/mcp/a%20b?c=%2F", b'{"x": 1}')
    assert _asked(proxy, "GET", "/time%2fmcp", GOOD) == 400, "the proxy has not read it for Envoy"
    assert _asked(proxy, "GET", "/time/mcp") == 401
    assert _asked(proxy, "GET", "/time/mcp", {**GOOD, "Host": "evil.example"}) == 421


@pytest.mark.parametrize("upgrade", ["TLS/1.2", "TLS/1.3, TLS/1.2", "h2c", "websocket"])
def test_an_offer_to_upgrade_is_ignored(gateway: World, upgrade: str) -> None:
    answer = gateway.gate.ask("/time/mcp", headers={**GOOD, "Connection": "Upgrade", "Upgrade": upgrade})
    assert answer.status == 200
    assert "upgrade" not in gateway.only_received().headers


def test_the_default_protocol_of_nginx_is_refused(gateway: World) -> None:
    with _running("nginx", gateway.gate.port, change=("proxy_http_version 1.1;", "")) as port:
        assert _asked(port, "GET", "/healthz") == 426


def test_haproxy_limits_the_connections_of_one_address_and_not_those_of_another(gateway: World) -> None:
    with (
        _running("haproxy", gateway.gate.port, change=("sc0_conn_cur gt 200", "sc0_conn_cur gt 5")) as port,
        ExitStack() as held,
    ):
        for _ in range(12):
            with suppress(ConnectionError):  # the proxy may close one before the test sees it open
                held.enter_context(
                    socket.create_connection(
                        ("127.0.0.1", port), timeout=_PATIENCE, source_address=("127.0.0.4", 0)
                    )
                )
        assert _asked(port, "GET", "/healthz", source="127.0.0.5") == 200
        with pytest.raises((http.client.HTTPException, OSError)):
            _asked(port, "GET", "/healthz", source="127.0.0.4")


@pytest.mark.parametrize("named", ["198.51.100.7:51234", "192.0.2.1:80, 198.51.100.7:443", "198.51.100.7"])
def test_a_cloud_load_balancer_sends_the_address_with_a_port(gateway: World, named: str) -> None:
    assert gateway.gate.ask("/healthz", headers={"X-Forwarded-For": named}).status == 200
    assert gateway.only_received().headers["x-portcullis-address"] == ["198.51.100.7"]


def test_a_request_with_expect_continue_is_refused_without_a_token(gateway: World) -> None:
    head = gateway.gate.head("POST", "/time/mcp", "Content-Length: 2", "Expect: 100-continue")
    answer = gateway.gate.raw(head + b"{}")
    assert b"HTTP/1.1 401 " in answer
    assert gateway.received == []
