"""A receiver of syslog over TLS for tests (RFC 5425): it reads messages by their lengths, and stores them."""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Authority, Identity


@dataclass
class SyslogReceiver:
    """A listening receiver, and the messages that arrived so far."""

    port: int
    messages: list[bytes] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def hang_up(self) -> None:
        """Close all connections."""
        while self.connections:
            connection = self.connections.pop()
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def receiving_syslog(identity: Identity, clients: Authority | None = None) -> Iterator[SyslogReceiver]:
    """Run a receiver until the block ends. With `clients`, a caller needs a certificate of that authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert, identity.key)
    if clients is not None:
        context.load_verify_locations(clients.cert)
        context.verify_mode = ssl.CERT_REQUIRED
    listening = socket.create_server(("127.0.0.1", 0))
    found = SyslogReceiver(listening.getsockname()[1])
    threading.Thread(target=_accept, args=(listening, context, found), daemon=True).start()
    try:
        yield found
    finally:
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        found.hang_up()


def _accept(listening: socket.socket, context: ssl.SSLContext, found: SyslogReceiver) -> None:
    while True:
        try:
            plain, _ = listening.accept()
        except OSError:
            return
        threading.Thread(target=_read, args=(plain, context, found), daemon=True).start()


def _read(plain: socket.socket, context: ssl.SSLContext, found: SyslogReceiver) -> None:
    data = b""
    with suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
        found.connections.append(connection)
        while piece := connection.recv(65536):
            data += piece
            while b" " in data:
                length, _, rest = data.partition(b" ")
                if len(rest) < int(length):
                    break
                found.messages.append(rest[: int(length)])
                data = rest[int(length) :]
