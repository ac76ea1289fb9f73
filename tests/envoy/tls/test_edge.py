"""TLS for callers: TLS 1.3, HSTS on every answer, and plain HTTP that only redirects to https."""

from __future__ import annotations

import contextlib
import json
import shutil
import ssl
from typing import TYPE_CHECKING

import pytest

from portcullis.certificates import secret
from tests.envoy.check_service import GOOD
from tests.envoy.tls.edge import HOST, TIME, Edge, edge
from tests.support.programs import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.certificates import Authority

HSTS = "strict-transport-security"


@pytest.mark.requirement("mcp:https")
def test_tls_1_3_is_used_and_http_2_offered(a_gateway: Edge) -> None:
    context = a_gateway.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with a_gateway.connect(context) as connection:
        assert connection.version() == "TLSv1.3"
        assert connection.selected_alpn_protocol() == "h2"


def test_tls_1_2_is_refused_by_default(a_gateway: Edge) -> None:
    with pytest.raises(ssl.SSLError):
        a_gateway.connect(a_gateway.context(maximum_version=ssl.TLSVersion.TLSv1_2))


def test_plain_http_on_the_tls_port_gets_no_answer(a_gateway: Edge) -> None:
    assert a_gateway.gate.raw(a_gateway.gate.head("GET", "/")) == b""


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        ("/", HOST, 200),
        ("/token", HOST, 200),
        ("/notes/mcp", HOST, 200),
        ("/mcp", TIME, 200),
        ("/no/such/place", HOST, 404),
        ("/", "foreign.example.org", 421),
        ("/notes/%2fmcp", HOST, 400),
    ],
)
def test_every_answer_has_hsts(a_gateway: Edge, path: str, host: str, status: int) -> None:
    answer = a_gateway.ask(path, host=host, headers=GOOD, context=_careless(a_gateway))
    assert answer.status == status
    assert answer.headers[HSTS] == "max-age=31536000"


def test_every_refusal_has_hsts(a_gateway: Edge) -> None:
    foreign = a_gateway.ask("/notes/mcp", headers={"Origin": "https://evil.example"})
    assert (foreign.status, HSTS in foreign.headers) == (403, True)
    refused = a_gateway.ask("/notes/mcp", method="POST")
    assert (refused.status, HSTS in refused.headers) == (401, True)
    large = a_gateway.ask("/notes/mcp", headers={"x-large": "x" * 60_000})
    assert (large.status, HSTS in large.headers) == (431, True)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_http_is_redirected_to_https_with_its_method_and_query(a_gateway: Edge, method: str) -> None:
    answer = a_gateway.ask_plainly("/notes/mcp?a=b", method=method, host=f"{HOST}:8080")
    assert answer.status == 308
    assert answer.headers["location"] == f"https://{HOST}/notes/mcp?a=b"


def test_a_services_own_host_is_redirected_to_itself(a_gateway: Edge) -> None:
    assert a_gateway.ask_plainly("/mcp", host=TIME).headers["location"] == f"https://{TIME}/mcp"


def test_unknown_hosts_are_not_redirected(a_gateway: Edge) -> None:
    answer = a_gateway.ask_plainly("/", host="evil.example")
    assert (answer.status, answer.headers.get("location")) == (421, None)


def test_plain_http_reaches_no_server(a_gateway: Edge) -> None:
    for seen in (a_gateway.checks.asked, a_gateway.web.received, a_gateway.time.received):
        seen.clear()
    for path in (
        "/",
        "/token",
        "/notes/mcp",
        "/.well-known/acme-challenge/x",
        "/.well-known/acme-challenge/../token",
    ):
        assert a_gateway.ask_plainly(path).status in {308, 400}
    assert (a_gateway.checks.asked, a_gateway.web.received, a_gateway.time.received) == ([], [], [])


def test_tls_1_2_can_be_enabled_but_only_with_forward_secrecy(authority: Authority, tmp_path: Path) -> None:
    identity = authority.identity(HOST)
    path = tmp_path / "secret.json"
    path.write_text(json.dumps(secret.of_files(identity.cert, identity.key)), encoding="utf-8")
    with edge(
        authority.cert, path, tls_cert=identity.cert, tls_key=identity.key, tls_min_version="1.2"
    ) as gateway:
        old = gateway.context(maximum_version=ssl.TLSVersion.TLSv1_2)
        with gateway.connect(old) as connection:
            assert connection.version() == "TLSv1.2"
            assert str(connection.cipher()).startswith("('ECDHE-")
        old.set_ciphers("ECDHE-ECDSA-AES128-SHA256:@SECLEVEL=0")
        with pytest.raises(ssl.SSLError):
            gateway.connect(old)


def test_a_certificate_renewed_in_place_is_used_and_no_connection_drops(
    authority: Authority, tmp_path: Path
) -> None:
    folder = tmp_path / "certificate"
    folder.mkdir()
    first, second = authority.identity(HOST), authority.identity("unrelated.example.com", HOST)
    cert, key = folder / "cert.pem", folder / "key.pem"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)
    path = tmp_path / "secret.json"
    path.write_text(json.dumps(secret.of_files(cert, key)), encoding="utf-8")
    with edge(authority.cert, path, tls_cert=cert, tls_key=key) as gateway, gateway.connect() as old:
        before = old.getpeercert(binary_form=True)
        for source, place in ((second.key, key), (second.cert, cert)):
            shutil.copy(source, folder / "fresh")
            (folder / "fresh").replace(place)
        until(lambda: _certificate_of(gateway) != before, "new connections get the new certificate")
        old.sendall(gateway.gate.head("GET", "/"))
        assert old.recv(64).startswith(b"HTTP/1.1 200")


def test_half_of_a_renewed_pair_is_not_used(authority: Authority, tmp_path: Path) -> None:
    folder = tmp_path / "certificate"
    folder.mkdir()
    first, second = authority.identity(HOST), authority.identity("unrelated.example.com", HOST)
    cert, key = folder / "cert.pem", folder / "key.pem"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)
    path = tmp_path / "secret.json"
    path.write_text(json.dumps(secret.of_files(cert, key)), encoding="utf-8")
    with edge(authority.cert, path, tls_cert=cert, tls_key=key) as gateway:
        before = _certificate_of(gateway)
        shutil.copy(second.cert, folder / "fresh")
        (folder / "fresh").replace(cert)
        until(lambda: "Failed to load" in gateway.gate.log.read_text(encoding="utf-8"), "Envoy has tried the half")
        assert _certificate_of(gateway) == before


def _certificate_of(gateway: Edge) -> bytes | None:
    with contextlib.closing(gateway.connect()) as connection:
        return connection.getpeercert(binary_form=True)


def _careless(gateway: Edge) -> ssl.SSLContext:
    """The context of a caller that requests other hosts, too, which no certificate of ours names."""
    context = gateway.context(check_hostname=False)
    context.verify_mode = ssl.CERT_NONE
    return context
