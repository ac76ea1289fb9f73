"""TLS and mutual TLS: with a gRPC client, and between the rendered Envoy configuration and the check service."""

from __future__ import annotations

import signal
import socket
import ssl
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import httpx2
import pytest
from cryptography import x509

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from tests.envoy.process import Gate, running
from tests.service.transports.workers import ready
from tests.support.authz_process import AuthzProcess, check_call, environ, running_authz
from tests.support.certificates import Authority, Identity
from tests.support.check_messages import check_request, read_answer
from tests.support.metrics import read_samples, value
from tests.support.ports import free_port
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_server import RedisServer

NAME = "check.internal"


@dataclass(frozen=True)
class Papers:
    """The certificates: our authority with a server and a client, and those of another authority."""

    authority: Authority
    server: Identity
    client: Identity
    stranger: Authority
    impostor: Identity


@pytest.fixture(scope="module")
def papers() -> Iterator[Papers]:
    with tempfile.TemporaryDirectory(prefix="tls-") as name:
        ours, strange = Path(name, "ours"), Path(name, "strange")
        ours.mkdir()
        strange.mkdir()
        authority, stranger = Authority(ours, "authority"), Authority(strange, "stranger")
        yield Papers(
            authority,
            authority.identity(NAME),
            authority.identity("envoy.internal"),
            stranger,
            stranger.identity("envoy.internal"),
        )


@contextmanager
def guarded(
    redis: RedisServer,
    transport: str,
    papers: Papers,
    *,
    mutual: bool,
    address: str | None = None,
    metrics: str | None = None,
) -> Iterator[AuthzProcess]:
    more = {"AUTHZ_TRANSPORT": transport, "AUTHZ_TLS_CERT": str(papers.server.cert)}
    if metrics:
        more["METRICS_LISTEN"] = metrics
    more["AUTHZ_TLS_KEY"] = str(papers.server.key)
    if mutual:
        more["AUTHZ_TLS_CLIENT_CA"] = str(papers.authority.cert)
    if address:
        more["AUTHZ_LISTEN"] = address
    with running_authz(environ(redis, **more)) as authz:
        until(lambda: ready(authz))
        yield authz


def credentials(authority: Authority, identity: Identity | None = None) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        authority.cert.read_bytes(),
        identity.key.read_bytes() if identity else None,
        identity.cert.read_bytes() if identity else None,
    )


def ask(address: str, how: grpc.ChannelCredentials | None) -> int:
    options = [("grpc.ssl_target_name_override", NAME), ("grpc.use_local_subchannel_pool", 1)]
    with ExitStack() as stack:
        channel = stack.enter_context(
            grpc.secure_channel(address, how, options=options)
            if how
            else grpc.insecure_channel(address, options=options)
        )
        return read_answer(check_call(channel)(check_request(), timeout=60)).status


def assert_refused(address: str, how: grpc.ChannelCredentials | None) -> None:
    with pytest.raises(grpc.RpcError) as refusal:
        ask(address, how)
    assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("path", ["/metrics", "/metrics/sum"])
def test_metrics_report_the_expiry_of_certificates(redis: RedisServer, papers: Papers, path: str) -> None:
    place = f"127.0.0.1:{free_port()}"
    files = {"check.tls_cert": papers.server.cert, "check.tls_client_ca": papers.authority.cert}
    ends = {
        setting: x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
        for setting, file in files.items()
    }

    def shown() -> dict[str, float]:
        found = read_samples(httpx2.get(f"http://{place}{path}", timeout=60).text)
        name = "portcullis_certificate_expires_timestamp_seconds"
        return {setting: value(found, name, setting=setting) for setting in files}

    with guarded(redis, "http2", papers, mutual=True, metrics=place):
        until(lambda: shown() == ends)


@pytest.mark.parametrize("over", ["unix", "tcp"])
def test_with_a_certificate_it_accepts_only_tls(
    redis: RedisServer, transport: str, papers: Papers, over: str
) -> None:
    address = f"127.0.0.1:{free_port()}" if over == "tcp" else None
    with guarded(redis, transport, papers, mutual=False, address=address) as authz:
        assert ask(authz.address, credentials(papers.authority)) == 401
        assert_refused(authz.address, None)
        assert_refused(authz.address, credentials(papers.stranger))


def hello(address: str, papers: Papers, *, alpn: list[str], ciphers: str | None = None) -> bytes:
    """The first bytes of the service after a TLS 1.2 handshake; empty if it closes the connection."""
    context = ssl.create_default_context(cafile=str(papers.authority.cert))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    with socket.socket(socket.AF_UNIX) as plain:
        plain.settimeout(60)
        plain.connect(address.removeprefix("unix:"))
        with context.wrap_socket(plain, server_hostname=NAME) as tls:
            return tls.recv(9)


@pytest.mark.requirement("rfc9113:alpn", "rfc9113:tls-ciphers")
def test_over_tls_only_http2_is_negotiated(redis: RedisServer, papers: Papers) -> None:
    with guarded(redis, "http2", papers, mutual=False) as authz:
        for offered in (["h2"], ["http/1.1", "h2"]):
            assert hello(authz.address, papers, alpn=offered)[3:4] == b"\x04"  # SETTINGS
        for offered in ([], ["http/1.1"], ["h2c"]):
            assert hello(authz.address, papers, alpn=offered) == b""
        assert "no h2 in the TLS handshake" in authz.log_text()
        with pytest.raises(ssl.SSLError):
            hello(authz.address, papers, alpn=["h2"], ciphers="ECDHE-RSA-AES256-SHA384:AES128-GCM-SHA256")


def test_with_mutual_tls_only_clients_with_our_certificate_are_answered(
    redis: RedisServer, transport: str, papers: Papers
) -> None:
    with guarded(redis, transport, papers, mutual=True) as authz:
        assert ask(authz.address, credentials(papers.authority, papers.client)) == 401
        assert_refused(authz.address, credentials(papers.authority))
        assert_refused(authz.address, credentials(papers.authority, papers.impostor))
        assert_refused(authz.address, None)


def test_new_certificates_are_loaded_without_a_stop(redis: RedisServer, transport: str, papers: Papers) -> None:
    with guarded(redis, transport, papers, mutual=False) as authz:
        old = papers.server.cert.read_bytes(), papers.server.key.read_bytes()
        renewed = papers.stranger.identity(NAME)
        try:
            papers.server.cert.write_bytes(renewed.cert.read_bytes())
            papers.server.key.write_bytes(renewed.key.read_bytes())
            authz.process.send_signal(signal.SIGHUP)
            until(lambda: "workers.replaced" in authz.log_text())
            assert ask(authz.address, credentials(papers.stranger)) == 401
            assert_refused(authz.address, credentials(papers.authority))
        finally:
            papers.server.cert.write_bytes(old[0])
            papers.server.key.write_bytes(old[1])


def test_a_key_without_a_certificate_and_a_missing_file_are_faults(
    redis: RedisServer, transport: str, papers: Papers
) -> None:
    for more in (
        {"AUTHZ_TLS_KEY": str(papers.server.key)},
        {"AUTHZ_TLS_CLIENT_CA": str(papers.authority.cert)},
        {"AUTHZ_TLS_KEY": str(papers.server.key), "AUTHZ_TLS_CERT": "/no/such/file.pem"},
    ):
        with running_authz(environ(redis, AUTHZ_TRANSPORT=transport, **more)) as authz:
            assert authz.process.wait(60) != 0
            assert "/no/such/file.pem" in authz.log_text() or "check.tls_cert" in authz.log_text()


@contextmanager
def gate(authz: AuthzProcess, folder: Path, papers: Papers, identity: Identity | None) -> Iterator[Gate]:
    port = free_port()
    run = Path(authz.address.removeprefix("unix:")).parent
    settings = EnvoySettings(
        issuer="http://localhost:8080",
        services=(ServiceSettings(name="time", url="/time/mcp", upstream="http://127.0.0.1:1/mcp"),),
        envoy_listen=(f"127.0.0.1:{port}",),
        envoy_admin=f"unix:{run / 'admin.sock'}",
        authz_upstream=(authz.address,),
        authz_upstream_ca=papers.authority.cert,
        authz_upstream_name=NAME,
        authz_upstream_cert=identity.cert if identity else None,
        authz_upstream_key=identity.key if identity else None,
        web_upstream=(f"unix:{run / 'nobody.sock'}",),
    )
    with running(settings, folder) as started:
        yield started


@pytest.mark.parametrize("mutual", [False, True], ids=["TLS", "mutual TLS"])
def test_envoy_and_the_check_service_trust_each_other(
    redis: RedisServer, transport: str, papers: Papers, tmp_path: Path, mutual: bool
) -> None:
    with (
        guarded(redis, transport, papers, mutual=mutual) as authz,
        gate(authz, tmp_path, papers, papers.client if mutual else None) as envoy,
    ):
        assert envoy.ask("/time/mcp", method="POST", host="localhost:8080").status == 401


def test_an_envoy_with_another_certificate_allows_no_request(
    redis: RedisServer, transport: str, papers: Papers, tmp_path: Path
) -> None:
    with (
        guarded(redis, transport, papers, mutual=True) as authz,
        gate(authz, tmp_path, papers, papers.impostor) as envoy,
    ):
        assert envoy.ask("/time/mcp", method="POST", host="localhost:8080").status == 503
