"""A time-stamping authority of tests: `openssl ts` behind HTTP, with a root and a certificate of its own."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from tests.support.http_servers import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_CONFIG = """
[tsa]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/signer.pem
signer_key = {folder}/signer.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """One authority. `change` alters an answer before it is sent, and `status` is that of the next answers."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.ca = folder / "root.pem"
        self.url = ""
        self.status = 200
        self.change: Callable[[bytes], bytes] = bytes
        self.asked = 0
        folder.mkdir(parents=True)
        (folder / "config").write_text(_CONFIG.format(folder=folder), encoding="utf-8")
        (folder / "extensions").write_text(
            "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n"
        )
        (folder / "serial").write_text("01\n")
        key = ("-newkey", "rsa:2048", "-nodes", "-sha256")
        root = ("-x509", "-days", "2", "-subj", "/CN=Root", "-addext", "keyUsage=critical,keyCertSign")
        self._openssl("req", *root, *key, "-keyout", "root.key", "-out", "root.pem")
        self._openssl("req", *key, "-subj", "/CN=TSA", "-keyout", "signer.key", "-out", "signer.csr")
        issuer = ("-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", "2")
        self._openssl("x509", "-req", "-in", "signer.csr", *issuer, "-extfile", "extensions", "-out", "signer.pem")

    def stamp(self, query: bytes) -> bytes:
        """The answer to a request, of the Time-Stamp Protocol."""
        (self._folder / "query").write_bytes(query)
        self._openssl(
            "ts", "-reply", "-config", "config", "-section", "tsa", "-queryfile", "query", "-out", "reply"
        )
        return (self._folder / "reply").read_bytes()

    def verifies(self, data: Path, answer: Path) -> bool:
        """Whether `openssl` finds that the answer is a stamp of this file."""
        given = ("-data", str(data), "-in", str(answer), "-CAfile", "root.pem")
        return self._openssl("ts", "-verify", *given, check=False) == 0

    def _openssl(self, *arguments: str, check: bool = True) -> int:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self._folder, check=False, capture_output=True, timeout=300
        )
        assert not check or done.returncode == 0, done.stderr.decode()
        return done.returncode


@contextmanager
def answering(authority: TimestampAuthority) -> Iterator[TimestampAuthority]:
    """Serve the authority at `authority.url` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.headers["Content-Type"] == "application/timestamp-query"
            answer = authority.change(authority.stamp(query))
            authority.asked += 1
            self.send_response(authority.status)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    authority.url = f"http://127.0.0.1:{server.server_address[1]}/tsa?secret=hush"
    with serving(server):
        yield authority
