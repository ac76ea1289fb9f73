"""Webhooks whose receiver never ends its answer: the attempt ends by itself, and with it the connection."""

from __future__ import annotations

import itertools
import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from portcullis.alerts.alert import Alert
from portcullis.alerts.sending import BoundedSender, NotTakenError
from portcullis.alerts.webhook import Webhook

if TYPE_CHECKING:
    from collections.abc import Iterable

ALERT = Alert(
    "0123", "2026-11-30T12:00:00.000000Z", "reuse", "Reuse", "high", "Why.", "", "https://gate.example", "n"
)


@pytest.mark.parametrize(
    ("scheme", "begin", "more"),
    [
        ("http", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\nX: ", b""),
        ("http", b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"),
        ("http", b"", b""),
        ("https", b"\x16\x03\x03\x40\x00", b""),
    ],
    ids=["interim-answers", "silent-in-a-header", "headers", "silent", "silent-in-the-tls-handshake"],
)
def test_an_answer_that_never_ends_ends_the_attempt_and_its_connection(
    scheme: str, begin: bytes, more: bytes
) -> None:
    ended = threading.Event()

    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with closing(connection), suppress(OSError):
            connection.sendall(begin)
            parts: Iterable[bytes] = itertools.repeat(more) if more else ()
            for part in parts:
                connection.sendall(part)
            while connection.recv(65536):
                pass
        ended.set()

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        url = f"{scheme}://127.0.0.1:{listening.getsockname()[1]}/hook"
        sender = BoundedSender(Webhook(url, bytes(32), seconds=0.2))
        # Not "no answer after 60 seconds": that attempt would go on, and keep back the next ones.
        with pytest.raises(NotTakenError, match=r"no answer \("):
            sender.send(ALERT)
        assert ended.wait(60)
