"""Client certificates at the edge: signed by the right authority, pinned if there are pins, required if set so."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from oauth_core.settings import EnvoySettings
from oauth_core.settings.services import ServiceSettings
from portcullis.certificates import secret
from portcullis.certificates.pair import Authorities, AuthoritiesFollower
from portcullis.config_check.certificates import check_certificates
from tests.envoy.check_service import GOOD
from tests.envoy.tls.edge import HOST, Edge, edge
from tests.support import forks
from tests.support.certificates import Authority, Identity
from tests.support.programs import client_of, plain_environment, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

XFCC = "x-forwarded-client-cert"


@pytest.fixture(scope="module")
def callers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The certificate authority of the callers."""
    return Authority(tmp_path_factory.mktemp("callers"), "callers")


@pytest.fixture(scope="module")
def ada(callers: Authority) -> Identity:
    """A caller with a valid certificate."""
    return callers.identity("ada.example.com")


@pytest.fixture(scope="module")
def bob(callers: Authority) -> Identity:
    """Another caller with a valid certificate."""
    return callers.identity("bob.example.com")


@pytest.fixture(scope="module")
def mallory(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """An attacker: her certificate has the name of `ada`, and is signed by her own authority."""
    return Authority(tmp_path_factory.mktemp("mallory"), "mallory").identity("ada.example.com")


def asking(authority: Authority, tmp_path: Path, callers: Authority, **more: Any) -> AbstractContextManager[Edge]:
    """An edge that requests client certificates."""
    identity = authority.identity(HOST)
    path = tmp_path / "secret.json"
    path.write_text(json.dumps(secret.of_files(identity.cert, identity.key)), encoding="utf-8")
    return edge(
        authority.cert, path, tls_cert=identity.cert, tls_key=identity.key, tls_client_ca=callers.cert, **more
    )


@pytest.fixture(scope="module")
def optional(authority: Authority, tmp_path_factory: pytest.TempPathFactory, callers: Authority) -> Iterator[Edge]:
    """An edge with optional client certificates."""
    with asking(authority, tmp_path_factory.mktemp("optional"), callers) as gateway:
        yield gateway


def status_for(gateway: Edge, identity: Identity | None) -> int | None:
    """The status of the answer to a caller with this certificate; `None` if the TLS handshake fails."""
    context = gateway.context()
    if identity is not None:
        context.load_cert_chain(identity.cert, identity.key)
    try:
        return gateway.ask("/notes/mcp", headers=GOOD, context=context).status
    except (ssl.SSLError, ConnectionError):
        return None


def test_an_optional_certificate_may_be_absent_but_not_invalid(
    optional: Edge, ada: Identity, mallory: Identity
) -> None:
    assert status_for(optional, None) == 200
    assert status_for(optional, ada) == 200
    assert status_for(optional, mallory) is None


@pytest.mark.parametrize("required", [True, False])
def test_new_connections_use_replaced_authorities_and_open_ones_continue(
    authority: Authority, tmp_path: Path, *, required: bool
) -> None:
    """Like a rotation: first both authorities, then only the new one."""
    (before, after), folder = [Authority(tmp_path, name) for name in ("before", "after")], tmp_path / "in-use"
    folder.mkdir()
    ada, bob = before.identity("ada.example.com"), after.identity("bob.example.com")
    in_use = folder / "authorities.pem"

    def use(*authorities: Authority) -> None:
        (folder / "fresh").write_bytes(b"".join(each.cert.read_bytes() for each in authorities))
        (folder / "fresh").replace(in_use)

    use(before)
    identity, path = authority.identity(HOST), tmp_path / "secret.json"
    path.write_text(json.dumps(secret.of_files(identity.cert, identity.key)), encoding="utf-8")
    files = {"tls_cert": identity.cert, "tls_key": identity.key, "tls_client_ca": in_use}
    with edge(authority.cert, path, **files, tls_client_required=required) as gateway:
        context = gateway.context()
        context.load_cert_chain(ada.cert, ada.key)
        with gateway.connect(context) as old:
            assert [status_for(gateway, who) for who in (ada, bob)] == [200, None]
            use(before, after)
            until(lambda: status_for(gateway, bob) == 200, "the new authority to count")
            assert status_for(gateway, ada) == 200
            use(after)
            until(lambda: status_for(gateway, ada) is None, "the authority before to count no longer")
            assert status_for(gateway, bob) == 200
            old.sendall(gateway.gate.head("GET", "/"))
            assert old.recv(64).startswith(b"HTTP/1.1 200"), "an open connection continues"


def test_envoy_counts_the_days_until_the_first_certificate_expires(optional: Edge) -> None:
    """The alert rule in docs/prometheus-rules.yaml uses this metric."""
    with client_of(Path(optional.settings.envoy_admin.removeprefix("unix:"))) as admin:
        page = admin.get("/stats/prometheus?filter=days_until_first_cert_expiring").text
    (days,) = re.findall(r"^envoy_server_days_until_first_cert_expiring\{\} (\d+)$", page, re.MULTILINE)
    assert int(days) < 4000, "Envoy found no certificate that expires"


def test_the_check_of_settings_warns_of_a_certificate_that_expires_soon(
    authority: Authority, callers: Authority
) -> None:
    identity = authority.identity(HOST)
    settings = EnvoySettings(
        issuer=f"https://{HOST}",
        services=(ServiceSettings(name="time", upstream="http://127.0.0.1:1/mcp"),),
        tls_cert=identity.cert,
        tls_key=identity.key,
        tls_client_ca=callers.cert,
    )
    first = min(Authorities.read(file).ends for file in (identity.cert, callers.cert))
    last = max(Authorities.read(file).ends for file in (identity.cert, callers.cert))
    day = 86_400
    assert list(check_certificates(settings, first - 15 * day)) == []
    for now, word in ((last - 13 * day, "ends at"), (last + 1, "ended at")):
        notes = list(check_certificates(settings, now))
        assert [note.setting for note in notes] == ["tls.cert", "tls.client_ca"]
        assert all(word in note.text for note in notes)


def test_the_commands_write_the_file_from_which_envoy_reads_the_authorities(
    authority: Authority, callers: Authority, tmp_path: Path
) -> None:
    identity, config = authority.identity(HOST), tmp_path / "portcullis.toml"
    config.write_text(
        f'issuer = "https://{HOST}"\ntls_client_ca = "{callers.cert}"\n'
        '[[services]]\nname = "time"\nupstream = "http://127.0.0.1:1/mcp"\n'
    )
    wanted = secret.of_authorities_file(callers.cert)
    environment = plain_environment(PORTCULLIS_CONFIG=str(config))
    own = environment | {"TLS_CERT": str(identity.cert), "TLS_KEY": str(identity.key)}
    printed = forks.run("portcullis", "envoy", "secret", "--client-authorities", environment=own)
    assert json.loads(printed.stdout) == wanted, printed.stderr
    acme = environment | {
        "ACME_EMAIL": "operator@example.com",
        "ACME_DIR": str(tmp_path / "acme"),
        "HTTP_REDIRECT_LISTEN": "127.0.0.1:1",
    }
    assert forks.run("portcullis", "acme", "prepare", environment=acme).returncode == 0
    shown = tmp_path / "acme" / "client-authorities.json"
    assert json.loads(shown.read_text()) == wanted
    assert shown.stat().st_mode & 0o077 == 0
    # `up` writes a copy there, which it does not replace for the same authorities.
    AuthoritiesFollower(callers.cert, shown).look()
    copy = shown.read_text()
    for named, kept in ((callers.cert, True), (authority.cert, False)):
        changed = acme | {"TLS_CLIENT_CA": str(named)}
        assert forks.run("portcullis", "acme", "prepare", environment=changed).returncode == 0
        assert (shown.read_text() == copy) is kept
    assert json.loads(shown.read_text()) == secret.of_authorities_file(authority.cert)


def test_a_file_without_certificates_leaves_the_authorities_unchanged(
    authority: Authority, tmp_path: Path
) -> None:
    callers, folder = Authority(tmp_path, "callers"), tmp_path / "in-use"
    folder.mkdir()
    in_use, target = folder / "authorities.pem", folder / "client-authorities.json"
    in_use.write_bytes(callers.cert.read_bytes())
    follower = AuthoritiesFollower(in_use, target)
    (sentence,) = follower.look()
    assert "new authorities of client certificates are in use, the first valid until" in sentence
    written = target.read_text()
    in_use.write_text("")
    said = [sentence for _ in range(20) for sentence in follower.look()]
    assert said == [f"{in_use} has no certificate in PEM form; the authorities before stay in use"]
    assert target.read_text() == written
    in_use.write_bytes(authority.cert.read_bytes())
    assert len(follower.look()) == 1
    assert json.loads(target.read_text())["resources"][0]["name"] == secret.AUTHORITIES


def test_a_required_certificate_must_be_present_and_valid(
    authority: Authority, tmp_path: Path, callers: Authority, ada: Identity, mallory: Identity
) -> None:
    with asking(authority, tmp_path, callers, tls_client_required=True) as gateway:
        assert [status_for(gateway, who) for who in (None, ada, mallory)] == [None, 200, None]


def test_the_authorization_server_receives_the_fingerprint_and_never_a_claimed_one(
    optional: Edge, ada: Identity
) -> None:
    optional.web.received.clear()
    context = optional.context()
    context.load_cert_chain(ada.cert, ada.key)
    forged = {XFCC: f"Hash={'0' * 64}"}
    optional.ask("/token", context=context, headers=forged)
    optional.ask("/token", headers=forged)
    with_one, without = optional.web.received
    assert with_one.headers.get(XFCC) == [f"Hash={fingerprint(ada)}"]
    assert XFCC not in without.headers


def test_services_receive_no_certificate_header(optional: Edge, ada: Identity) -> None:
    optional.time.received.clear()
    context = optional.context()
    context.load_cert_chain(ada.cert, ada.key)
    assert optional.ask("/notes/mcp", headers=GOOD, context=context).status == 200
    (received,) = optional.time.received
    assert XFCC not in received.headers


def fingerprint(identity: Identity) -> str:
    """The SHA-256 of a certificate, in hex."""
    certificate = x509.load_pem_x509_certificate(identity.cert.read_bytes())
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def spki_pin(identity: Identity) -> str:
    """The SHA-256 of the certificate's public key, in base64."""
    key = x509.load_pem_x509_certificate(identity.cert.read_bytes()).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(der).digest()).decode()


@pytest.mark.parametrize("pin_of", [fingerprint, spki_pin])
def test_with_pins_other_certificates_of_the_same_authority_are_refused(
    authority: Authority, tmp_path: Path, callers: Authority, pin_of: Callable[[Identity], str]
) -> None:
    ada, bob = callers.identity("ada"), callers.identity("bob")
    pin = pin_of(ada)
    with asking(authority, tmp_path, callers, tls_client_pins=(pin,)) as gateway:
        assert [status_for(gateway, who) for who in (ada, bob)] == [200, None]
