"""Webhooks whose receiver never ends its answer: the attempt still ends."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from portcullis.alerts.alert import Alert
from portcullis.alerts.sending import BoundedSender, NotTakenError
from portcullis.alerts.webhook import Webhook
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

ALERT = Alert(
    "0123", "2026-11-30T12:00:00.000000Z", "reuse", "Reuse", "high", "Why.", "", "https://gate.example", "n"
)


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def https(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """The TLS context of a receiver with a trusted certificate."""
    authority = Authority(tmp_path, "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.cert))
    identity = authority.identity("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    return context


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"", INTERIM),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b""),
    ],
    ids=["interim-answers", "headers", "silence"],
)
def test_an_attempt_ends_although_the_answer_does_not(
    scheme: str, begin: bytes, more: bytes, https: ssl.SSLContext
) -> None:

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        connection.settimeout(10)  # so that this thread ends: the other end may close without a sign
        with closing(connection), suppress(OSError):
            if scheme == "https":
                connection = https.wrap_socket(connection, server_side=True)
            with closing(connection):
                connection.sendall(begin)
                for part in itertools.repeat(more) if more else ():
                    connection.sendall(part)
                while connection.recv(65536):
                    pass

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/hook"
        sender = BoundedSender(Webhook(url, bytes(32), seconds=0.2))
        # Not "no answer after 60 seconds": that attempt would continue, and delay the next ones.
        with pytest.raises(NotTakenError, match=r"no answer \("):
            sender.send(ALERT)
