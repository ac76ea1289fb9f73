"""The log says in words why a connection was refused or a worker stopped; a clean stop is no error."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest

from oauth_core.settings import DEFINITIONS, EnvoySettings, load
from oauth_core.settings.sources import from_environment, from_file
from oauth_core.store.failures import known_cause
from tests.support.authz_process import HASTY, PASSWORD, USERS, AuthzProcess, environ, running_authz
from tests.support.certificates import Authority
from tests.support.programs import until
from tests.support.redis_server import running_redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_server import RedisServer


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with running_redis(password="admin-password-of-tests", users=USERS) as server:
        yield server


@pytest.fixture(scope="module")
def plain(redis: RedisServer) -> Iterator[AuthzProcess]:
    with running_authz(environ(redis, **HASTY)) as authz:
        until(lambda: "server.listening" in authz.log_text(), "it to listen", 60)
        yield authz


@pytest.fixture(scope="module")
def with_tls(redis: RedisServer, papers: Authority) -> Iterator[AuthzProcess]:
    server = papers.identity("check.internal")
    files = {"AUTHZ_TLS_CERT": server.cert, "AUTHZ_TLS_KEY": server.key, "AUTHZ_TLS_CLIENT_CA": papers.cert}
    with running_authz(environ(redis, **HASTY, **{name: str(file) for name, file in files.items()})) as authz:
        until(lambda: "server.listening" in authz.log_text(), "it to listen", 60)
        yield authz


def send(authz: AuthzProcess, data: bytes) -> None:
    """Send this and wait for the connection to be closed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(authz.address.removeprefix("unix:"))
        connection.sendall(data)
        try:
            while connection.recv(4096):
                pass
        except ConnectionResetError:
            pass


def shake_hands(authz: AuthzProcess, context: ssl.SSLContext) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(authz.address.removeprefix("unix:"))
        try:
            with context.wrap_socket(connection, server_hostname="check.internal") as secured:
                secured.recv(1)
        except OSError:
            pass


def reasons(authz: AuthzProcess) -> list[str]:
    return [event["reason"] for event in authz.log() if event.get("event") == "connection.refused"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            b"POST /envoy.service.auth.v3.Authorization/Check HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 on the gRPC port",
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64, "TLS on a port without TLS"),
        (b"\0" * 64, "not HTTP/2"),
    ],
)
def test_a_peer_that_does_not_speak_http2_is_named(plain: AuthzProcess, data: bytes, reason: str) -> None:
    send(plain, data)
    until(lambda: any(reason in found for found in reasons(plain)), reason)


def test_the_same_reason_is_not_logged_for_each_connection(plain: AuthzProcess) -> None:
    for _ in range(50):
        send(plain, b"GET / HTTP/1.1\r\n\r\n")
    assert len([found for found in reasons(plain) if "HTTP/1.1" in found]) < 25


def test_plain_http_on_a_tls_port_and_a_missing_certificate_are_named(
    with_tls: AuthzProcess, papers: Authority, tmp_path: Path
) -> None:
    send(with_tls, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    until(lambda: any("plain HTTP on a port that wants TLS" in found for found in reasons(with_tls)), "plain HTTP")
    trusting = ssl.create_default_context(cafile=str(papers.cert))
    trusting.set_alpn_protocols(["h2"])
    shake_hands(with_tls, trusting)
    until(lambda: any("no client certificate" in found for found in reasons(with_tls)), "the certificate")
    stranger = Authority(tmp_path, "stranger").identity("envoy.internal")
    trusting.load_cert_chain(stranger.cert, stranger.key)
    shake_hands(with_tls, trusting)
    until(lambda: any("not of an authority" in found for found in reasons(with_tls)), "the stranger")
    distrusting = ssl.create_default_context()
    shake_hands(with_tls, distrusting)
    until(lambda: any("does not trust check.tls_cert" in found for found in reasons(with_tls)), "the distrust")


@pytest.mark.parametrize("transport", ["http2", "grpcio"])
def test_a_clean_stop_logs_no_error(redis: RedisServer, transport: str) -> None:
    with running_authz(environ(redis, **HASTY, AUTHZ_TRANSPORT=transport)) as authz:
        until(lambda: "server.listening" in authz.log_text(), "it to listen", 60)
        assert authz.terminate() == 0
        assert [event for event in authz.log() if event.get("level") == "error"] == []
        assert "Traceback" not in authz.log_text()


@pytest.mark.parametrize(
    ("password", "why"), [("wrong", "Redis refused the user name or the password"), (None, "Redis asks for")]
)
def test_a_refused_password_is_named_and_not_repeated(redis: RedisServer, password: str | None, why: str) -> None:
    variables = environ(redis, **HASTY)
    del variables["REDIS_PASSWORD"]
    if password is None:
        variables["REDIS_URL"] = redis.url()
    else:
        variables["REDIS_PASSWORD"] = password
    with running_authz(variables) as authz:
        until(lambda: why in authz.log_text(), why, 60)
        assert PASSWORD not in authz.log_text()


def test_other_failures_have_no_known_cause() -> None:
    assert known_cause(OSError("Connection refused")) is None


def test_a_byte_order_mark_is_not_part_of_a_secret_or_of_the_settings(tmp_path: Path) -> None:
    secret, config = tmp_path / "secret", tmp_path / "portcullis.toml"
    secret.write_bytes(b"\xef\xbb\xbfhush\r\n")
    config.write_bytes(b'\xef\xbb\xbfissuer = "http://localhost:8080"\r\nservices = []\r\n')
    faults: list[str] = []
    assert from_file(config, DEFINITIONS, faults).values["issuer"] == "http://localhost:8080"
    assert faults == []
    good = 'issuer = "http://localhost:8080"\n[[services]]\nname = "a"\nupstream = "http://a:1/mcp"\n'
    config.write_bytes(b"\xef\xbb\xbf" + good.encode())
    assert load(EnvoySettings, config, {}).issuer == "http://localhost:8080"
    variables = {"REDIS_PASSWORD_FILE": str(secret)}
    assert from_environment([DEFINITIONS["redis_password"]], variables, faults) == {"redis_password": "hush"}
