"""A real HTTPS server on loopback that publishes documents, with a certificate from an authority of the test.

with running_publisher() as publisher:
    url = publisher.put("/app.json", {"client_id": ...})
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import tempfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NAMES = ("localhost", "rebind.example")
"""Names in the certificate, besides 127.0.0.1."""


@dataclass
class Page:
    """The answer at a path. With `drip` the body arrives endlessly, a byte at a time.

    `reached` is set when a request arrives; a `gate` delays the answer until it is set.
    """

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    drip: bool = False
    gate: threading.Event | None = None
    reached: threading.Event = field(default_factory=threading.Event)


class Publisher:
    """The server, its documents and its received requests."""

    def __init__(self, ca_file: Path) -> None:
        self.ca_file = ca_file
        self.port = 0
        self.pages: dict[str, Page] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.names: list[str | None] = []
        """The name that each TLS handshake requested (SNI)."""
        self.closing = threading.Event()

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def url(self, path: str) -> str:
        return f"https://{self.host}{path}"

    def put(self, path: str, document: object, **headers: str) -> str:
        """Publish `document` as JSON. Return its URL."""
        kinds = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        self.pages[path] = Page(json.dumps(document).encode(), headers=kinds)
        return self.url(path)

    def client(self, path: str, **members: Any) -> str:
        """Publish a client's metadata document. Return its client_id."""
        return self.put(
            path,
            {
                "client_id": self.url(path),
                "client_name": "A published client",
                "redirect_uris": ["http://127.0.0.1:7777/callback"],
                "token_endpoint_auth_method": "none",
                **members,
            },
        )

    def times_asked(self, path: str) -> int:
        """How many times a path was requested."""
        return sum(asked == path for asked, _ in self.asked)


def _handler(publisher: Publisher) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            publisher.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            page = publisher.pages.get(self.path, Page(b"{}", 404))
            page.reached.set()
            if page.gate is not None:
                page.gate.wait(60)
            try:
                self.send_response(page.status)
                for name, value in page.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(page.body)
                while page.drip and not publisher.closing.wait(0.05):
                    self.wfile.write(b" ")
            except OSError:
                pass  # the client disconnected

        def log_message(self, *_: object) -> None:
            pass

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that breaks off a handshake is part of the tests."""


@contextmanager
def running_publisher(*, tls: bool = True) -> Iterator[Publisher]:
    """Run a publisher on a free port until the block ends."""
    with tempfile.TemporaryDirectory(prefix="publisher-") as name:
        folder = Path(name)
        publisher = Publisher(folder / "ca.pem")
        certificate = _certificate(folder)
        with _Server(("127.0.0.1", 0), _handler(publisher)) as server:
            if tls:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(certificate)
                context.sni_callback = lambda _socket, asked_for, _context: publisher.names.append(asked_for)
                server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
            publisher.port = server.server_address[1]
            with serving(server):
                try:
                    yield publisher
                finally:
                    publisher.closing.set()


def _certificate(folder: Path) -> Path:
    """Make an authority and, signed by it, the server's certificate and key in one file."""
    authority, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Authority of a test")])
    ca = (
        _building(issuer, issuer, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(authority, hashes.SHA256())
    )
    names = [*map(x509.DNSName, NAMES), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (
        _building(issuer, x509.Name([]), server.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()), critical=False)
        .sign(authority, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    key = server.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both = folder / "server.pem"
    both.write_bytes(leaf.public_bytes(serialization.Encoding.PEM) + key)
    return both


def _building(issuer: x509.Name, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
