"""`portcullis up` with TLS: it starts with all accepted settings, and follows a certificate that is renewed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import http.client
import json
import shutil
import ssl
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from portcullis.certificates.pair import Follower, Pair, PairError
from portcullis.supervisor.probes import ChallengeProbe
from tests.envoy.tls.edge import edge
from tests.support.certificates import Authority, Identity
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.ports import free_port
from tests.support.programs import PORTCULLIS, plain_environment, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
issuer = "https://localhost:8443"
tokens.certificate_bound = "required"
tls.cert = "{folder}/live/fullchain.pem"
tls.key = "{folder}/live/privkey.pem"
tls.client_ca = "{clients}"
tls.client_required = true
tls.client_pins = ["{pin}"]
tls_min_version = "1.2"
tls.hsts_max_age = 0
tls.http_redirect_listen = ["127.0.0.1:{plain}"]
check.tls_cert = "{folder}/live/fullchain.pem"
check.tls_key = "{folder}/live/privkey.pem"
check.tls_client_ca = "{clients}"
envoy.authz_upstream_ca = "{clients}"
envoy.authz_upstream_name = "authz.example.com"
envoy.authz_upstream_cert = "{folder}/live/fullchain.pem"
envoy.authz_upstream_key = "{folder}/live/privkey.pem"

[[services]]
name = "whoami"
command = ["portcullis", "example-server", "--listen", "unix:{{socket}}"]
transport = "http"
"""


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("callers"), "callers")


@pytest.fixture(scope="module")
def ada(callers: Authority) -> Identity:
    return callers.identity("ada.example.com")


@pytest.fixture(scope="module")
def folder(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The layout of certbot: `live` has links into `archive`."""
    folder = tmp_path_factory.mktemp("letsencrypt")
    (folder / "live").mkdir()
    (folder / "archive").mkdir()
    renew_as_certbot(folder, authority, 1)
    return folder


def renew_as_certbot(folder: Path, authority: Authority, number: int) -> None:
    made = authority.identity("localhost")
    for name, source in (("fullchain", made.cert), ("privkey", made.key)):
        shutil.copy(source, folder / f"archive/{name}{number}.pem")
        link = folder / f"live/{name}.pem"
        link.unlink(missing_ok=True)
        link.symlink_to(f"../archive/{name}{number}.pem")


@pytest.fixture(scope="module")
def gateway(
    authority: Authority, callers: Authority, ada: Identity, folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    public = x509.load_pem_x509_certificate(ada.cert.read_bytes()).public_key()
    spki = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    config = CONFIG.format(
        folder=folder,
        clients=callers.cert,
        plain=free_port(),
        pin=base64.b64encode(hashlib.sha256(spki).digest()).decode(),
    )
    with running_gateway(config=config, environ={"SSL_CERT_FILE": str(authority.cert)}) as gateway:
        yield gateway


def connect(gateway: RunningGateway, authority: Authority, who: Identity | None) -> http.client.HTTPSConnection:
    context = ssl.create_default_context(cafile=str(authority.cert))
    if who is not None:
        context.load_cert_chain(who.cert, who.key)
    return http.client.HTTPSConnection(
        "localhost", int(gateway.url.rpartition(":")[2]), context=context, timeout=60
    )


def certificate_in_use(gateway: RunningGateway, authority: Authority, ada: Identity) -> bytes | None:
    connection = connect(gateway, authority, ada)
    connection.connect()
    assert isinstance(connection.sock, ssl.SSLSocket)
    shown = connection.sock.getpeercert(binary_form=True)
    connection.close()
    return shown


def said(gateway: RunningGateway) -> str:
    return gateway.output.read_text(encoding="utf-8")


def _asked_without_certificate(connection: http.client.HTTPSConnection) -> None:
    connection.request("POST", "/whoami/mcp", body="{}")
    connection.getresponse()


def test_it_starts_with_every_tls_setting_at_once_and_requires_certificates(
    gateway: RunningGateway, authority: Authority, ada: Identity
) -> None:
    known = connect(gateway, authority, ada)
    known.request("POST", "/whoami/mcp", body="{}", headers={"Content-Type": "application/json"})
    assert known.getresponse().status == 401
    known.close()
    stranger = connect(gateway, authority, None)
    # In TLS 1.3 the client learns of it after its handshake, by the alert or by the end of the connection.
    with closing(stranger), pytest.raises(ssl.SSLError, match=r"CERTIFICATE_REQUIRED|EOF occurred"):
        _asked_without_certificate(stranger)


def test_a_setting_under_its_old_name_is_used_with_one_warning(gateway: RunningGateway) -> None:
    warning = "tls_min_version is an old name: write min_version in the table [tls]"
    assert said(gateway).count(warning) == 1
    for program in ("oauth_web", "ext_authz"):
        log = (gateway.state_dir / "logs" / f"{program}.log").read_text(encoding="utf-8")
        assert [warning in line for line in log.splitlines() if "settings.old_name" in line] == [True]


def test_links_that_certbot_replaces_are_followed(
    gateway: RunningGateway, authority: Authority, ada: Identity, folder: Path
) -> None:
    before = certificate_in_use(gateway, authority, ada)
    renew_as_certbot(folder, authority, 2)
    until(lambda: certificate_in_use(gateway, authority, ada) != before, "the new certificate to be in use")
    until(lambda: "a new certificate is in use" in said(gateway), "that to be said")


def test_files_that_are_overwritten_in_place_are_followed(
    gateway: RunningGateway, authority: Authority, ada: Identity, folder: Path
) -> None:
    before = certificate_in_use(gateway, authority, ada)
    made = authority.identity("localhost")
    for name, source in (("fullchain", made.cert), ("privkey", made.key)):
        (folder / f"live/{name}.pem").write_bytes(source.read_bytes())
    until(lambda: certificate_in_use(gateway, authority, ada) != before, "the new certificate to be in use")


def test_authorities_of_clients_that_are_overwritten_in_place_are_followed(
    gateway: RunningGateway, authority: Authority, callers: Authority, ada: Identity
) -> None:
    def is_admitted() -> bool:
        connection = connect(gateway, authority, ada)
        with closing(connection):
            try:
                _asked_without_certificate(connection)
            except (ssl.SSLError, ConnectionError):
                return False
        return True

    before = callers.cert.read_bytes()
    assert is_admitted()
    try:
        callers.cert.write_bytes(authority.cert.read_bytes())
        until(lambda: not is_admitted(), "the authority before to count no longer")
    finally:
        callers.cert.write_bytes(before)
    until(is_admitted, "the authority to count again")
    assert "new authorities of client certificates are in use" in said(gateway)


def test_a_key_that_does_not_match_is_reported_and_the_certificate_stays(
    gateway: RunningGateway, authority: Authority, ada: Identity, folder: Path
) -> None:
    before = certificate_in_use(gateway, authority, ada)
    key = folder / "live/privkey.pem"
    good = key.read_bytes()
    key.write_bytes(authority.identity("localhost").key.read_bytes())
    until(lambda: "does not belong to the first certificate" in said(gateway), "the fault to be reported", 60)
    assert certificate_in_use(gateway, authority, ada) == before
    key.write_bytes(good)


@pytest.mark.parametrize(
    "settings",
    [
        {"tls_client_required": True, "tls_min_version": "1.2"},
        {"tls_client_required": True, "tls_min_version": "1.3", "certificate_bound_tokens": "asked"},
        {"tls_client_required": False, "tls_client_pins": ["ab" * 32], "tls_min_version": "1.2"},
        {"tls_client_required": False, "certificate_bound_tokens": "required"},
    ],
)
async def test_the_readiness_probe_of_up_is_answered_with_and_without_client_certificates(
    authority: Authority, callers: Authority, tmp_path: Path, settings: dict[str, Any]
) -> None:
    identity = authority.identity("gate.example.com")
    (tmp_path / "secret.json").write_text(Pair.read(identity.cert, identity.key).document(), encoding="utf-8")
    files = {"tls_cert": identity.cert, "tls_key": identity.key, "tls_client_ca": callers.cert}
    with edge(authority.cert, tmp_path / "secret.json", **files, **settings) as running:
        probe = ChallengeProbe(
            f"127.0.0.1:{running.gate.port}",
            "https://gate.example.com/notes/mcp",
            tls=True,
            client_required=running.settings.requires_client_certificate,
        )
        async with asyncio.timeout(60):
            while (missing := await probe()) is not None:
                assert "CERTIFICATE_REQUIRED" not in missing
                await asyncio.sleep(0.05)


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption: Any = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    made: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return made


def unknown_curve(text: bytes) -> bytes:
    """The PEM `text`, which has a key on P-256, with the name of a curve that no library supports."""
    first, *body, last = text.splitlines()
    der = base64.b64decode(b"".join(body))
    p256, p239 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030106")
    assert p256 in der
    return b"\n".join((first, base64.b64encode(der.replace(p256, p239)), last, b""))


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (pem(ec.generate_private_key(ec.SECP256R1())), "does not belong to the first certificate"),
        (pem(ec.generate_private_key(ec.SECP256R1()), b"secret"), "is encrypted"),
        (pem(rsa.generate_private_key(65537, 1024)), "RSA key of 1024 bits"),  # noqa: S505 - refused
        (pem(ed25519.Ed25519PrivateKey.generate()), "of a kind that Envoy does not accept"),
        (unknown_curve(pem(ec.generate_private_key(ec.SECP256R1()))), "of a kind that Envoy does not accept"),
        (b"-----BEGIN PRIVATE KEY-----\n", "no private key in PEM form"),
        (b"\xff\xfe", "is not PEM text"),
        (None, "No such file or directory"),
    ],
)
def test_files_that_envoy_cannot_use_are_refused_before_a_program_starts(
    authority: Authority, tmp_path: Path, key: bytes | None, why: str
) -> None:
    identity = authority.identity("localhost")
    private = tmp_path / "key.pem"
    if key is not None:
        private.write_bytes(key)
    with pytest.raises(PairError, match=why):
        Pair.read(identity.cert, private)
    config = tmp_path / "portcullis.toml"
    config.write_text(
        f'issuer = "https://localhost:8443"\ntls.cert = "{identity.cert}"\ntls.key = "{private}"\n'
        '[[services]]\nname = "a"\nupstream = "http://127.0.0.1:1/mcp"\n'
    )
    if key is None or b"BEGIN" not in key:
        commands = [["up", "--port", "0", "--state-dir", f"{tmp_path}/s"]]
        if key is not None:  # a missing file may exist where Envoy runs
            commands.append(["config", "check", "--offline"])
        for command in commands:
            done = subprocess.run(
                [*PORTCULLIS, *command, "--config", str(config)],
                env=plain_environment(),
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 2, done.stdout + done.stderr
            assert why in done.stdout + done.stderr


def test_a_certificate_with_an_unknown_kind_of_key_does_not_match(authority: Authority, tmp_path: Path) -> None:
    identity, strange = authority.identity("localhost"), tmp_path / "strange.pem"
    strange.write_bytes(unknown_curve(identity.cert.read_bytes()))
    with pytest.raises(PairError, match="does not belong to the first certificate"):
        Pair.read(strange, identity.key)


def test_the_follower_reports_a_lasting_fault_once_and_writes_only_changes(
    authority: Authority, tmp_path: Path
) -> None:
    first, other = authority.identity("localhost"), Authority(tmp_path, "other").identity("localhost")
    cert, key, target = tmp_path / "c.pem", tmp_path / "k.pem", tmp_path / "secret.json"
    shutil.copy(first.cert, cert)
    shutil.copy(first.key, key)
    follower = Follower(cert, key, target)
    (sentence,) = follower.look()
    assert "a new certificate is in use, valid until" in sentence
    written = target.stat().st_ino
    assert follower.look() == []
    shutil.copy(other.cert, cert)
    sentences = [sentence for _ in range(20) for sentence in follower.look()]
    assert len(sentences) == 1
    assert "does not belong" in sentences[0]
    assert target.stat().st_ino == written
    shutil.copy(other.key, key)
    assert len(follower.look()) == 1
    target.write_bytes(b"\xff damaged")
    assert len(follower.look()) == 1
    (resource,) = json.loads(target.read_text())["resources"]
    assert resource["tls_certificate"]["certificate_chain"]["inline_string"] == other.cert.read_text()
    assert target.stat().st_mode & 0o077 == 0
