"""The stack as in production: TLS on one port, plain HTTP that redirects to it on the other, nothing else
published.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography import x509

from tests.envoy.process import Answer
from tests.support.certificates import Authority
from tests.support.ports import free_port
from tests.system.containers.stack import running_stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.system.containers.engine import Engine
    from tests.system.containers.stack import Stack

pytestmark = pytest.mark.timeout(2400)  # the first test waits for the images to be built

NAME = "auth.example.com"
_SECONDS = 10


@dataclass(frozen=True)
class Front:
    """A stack whose issuer is `https://NAME`, and the two ports of this machine that lead to it."""

    stack: Stack
    https: int
    http: int

    def certificate(self) -> x509.Certificate:
        """The certificate that it presents, trusted or not."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with self._connected(context) as connection:
            shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown)

    def ask(self, path: str, context: ssl.SSLContext) -> Answer:
        """A request with TLS, as an ordinary client sends it."""
        connection = http.client.HTTPConnection("127.0.0.1")
        connection.sock = self._connected(context)
        return _answer(connection, path)

    def is_up(self) -> bool:
        """Whether Envoy has its certificate: the engine accepts connections before that."""
        try:
            return bool(self.certificate())
        except OSError:
            return False

    def ask_plainly(self, path: str) -> Answer:
        """A request with plain HTTP, as browsers and certificate authorities send it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http, timeout=_SECONDS)
        return _answer(connection, path, method="GET")

    def _connected(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.https), timeout=_SECONDS)
        return context.wrap_socket(plain, server_hostname=NAME)


def _answer(connection: http.client.HTTPConnection, path: str, *, method: str = "POST") -> Answer:
    body = b"{}" if method == "POST" else None
    with contextlib.closing(connection):
        connection.request(method, path, body=body, headers={"Host": NAME, "Content-Type": "application/json"})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@contextlib.contextmanager
def _front(engine: Engine, images: dict[str, str], folder: Path, file: str, **more: str) -> Iterator[Front]:
    https, plain = free_port(), free_port()
    with running_stack(
        engine,
        images,
        folder,
        "compose.tls.yaml",
        file,
        ISSUER=f"https://{NAME}",
        PUBLISH=f"127.0.0.1:{https}",
        PUBLISH_HTTP=f"127.0.0.1:{plain}",
        GITHUB_CLIENT_ID="Iv1.0123456789abcdef",
        **more,
    ) as stack:
        front = Front(stack, https, plain)
        _eventually(front.is_up)
        yield front


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="portcullis-stack-") as name:
        yield Path(name)


def test_with_an_operators_certificate_two_ports_are_open_and_a_renewed_one_is_loaded(
    engine: Engine, chosen_images: dict[str, str], folder: Path
) -> None:
    tls = folder / "tls"
    tls.mkdir()
    tls.chmod(0o755)
    authority = Authority(folder, "authority")
    _put(authority, tls)
    with _front(engine, chosen_images, folder, "compose.certificates.yaml", TLS_DIR=str(tls)) as front:
        trusting = ssl.create_default_context(cafile=str(authority.cert))
        answer = front.ask("/time/mcp", trusting)
        assert answer.status == 401
        assert f"https://{NAME}/.well-known/oauth-protected-resource" in answer.headers["www-authenticate"]
        assert answer.headers["strict-transport-security"]
        plain = front.ask_plainly("/time/mcp")
        assert (plain.status, plain.headers["location"]) == (308, f"https://{NAME}/time/mcp")
        assert _published(front.stack) == {"envoy": {str(front.https), str(front.http)}}
        assert front.stack.containers()["github-standin"].attrs["State"]["Running"] is False
        with pytest.raises(ssl.SSLCertVerificationError):
            front.ask("/time/mcp", ssl.create_default_context())
        before = front.certificate()
        _put(authority, tls)
        _eventually(lambda: front.certificate() != before)
        assert front.ask("/time/mcp", trusting).status == 401


def test_with_acme_envoy_starts_with_a_temporary_certificate_and_routes_challenges_to_acme(
    engine: Engine, chosen_images: dict[str, str], folder: Path
) -> None:
    with _front(
        engine,
        chosen_images,
        folder,
        "compose.acme.yaml",
        ACME_EMAIL="ops@example.com",
        ACME_DIRECTORY="https://127.0.0.1:1/directory",  # no server there; `tests/envoy/tls` tests issuing
    ) as front:
        assert NAME in str(
            front.certificate()
            .extensions.get_extension_for_class(x509.SubjectAlternativeName)
            .value.get_values_for_type(x509.DNSName)
        )
        assert front.ask_plainly("/.well-known/acme-challenge/unknown").status == 404
        assert front.ask_plainly("/other").status == 308
        assert _published(front.stack) == {"envoy": {str(front.https), str(front.http)}}
        networks = front.stack.containers()["acme"].attrs["NetworkSettings"]["Networks"]
        assert {network.rpartition("_")[2] for network in networks} == {"challenge", "outside"}
        _eventually(lambda: b"certificate.failed" in front.stack.containers()["acme"].logs())
        assert front.stack.containers()["acme"].attrs["State"]["Running"], (
            "an unreachable authority is no reason to end"
        )


def _put(authority: Authority, folder: Path) -> None:
    """A new certificate, moved into place as a renewing program does."""
    identity = authority.identity(NAME)
    for source, name in ((identity.key, "tls.key"), (identity.cert, "tls.crt")):
        new = shutil.copyfile(source, folder / f"{name}.new")
        new.chmod(0o444)  # owned by another user inside the container; the folder above excludes all others
        new.rename(folder / name)


def _published(stack: Stack) -> dict[str, set[str]]:
    bindings: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: container.attrs["HostConfig"]["PortBindings"] or {} for name, container in stack.containers().items()
    }
    return {
        name: {place["HostPort"] for places in ports.values() for place in places}
        for name, ports in bindings.items()
        if ports
    }


def _eventually(happens: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.2)
