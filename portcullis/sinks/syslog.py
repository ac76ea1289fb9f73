"""Sends records as messages of syslog: RFC 5424 over TLS (RFC 5425).

Syslog has no answers. A batch counts as taken when the other end's TCP has acknowledged all of its bytes, where
the system can say so (Linux), and otherwise when the system has taken them. A receiver that is killed after that
can lose what it had not stored.
"""

from __future__ import annotations

import fcntl
import json
import select
import socket
import ssl
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from oauth_core.audit_log.entries import NO_NODE
from portcullis.audit import moments
from portcullis.sinks.meaning import Severity, meaning_of
from portcullis.sinks.records import RecordKind
from portcullis.sinks.sending import ATTEMPT_SECONDS, NotTakenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from portcullis.sinks.records import Record

DEFAULT_PORT = 6514
_FACILITY = 13
"""Log audit (RFC 5424 section 6.2.1)."""
_NIL = "-"
_LONGEST = {"hostname": 255, "app": 48, "procid": 128, "msgid": 32}
_LOOK_AGAIN = 0.005


class SyslogSender:
    """Sends to one receiver, over a connection that stays. `tls` is its context; without one it is plain TCP."""

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        *,
        enterprise: int,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._address = (host, port)
        self._tls = tls
        self._enterprise = enterprise
        self._seconds = seconds
        self._connection: socket.socket | None = None

    def send(self, records: Sequence[Record]) -> int:
        """Send records. Raises `NotTakenError`, whose message does not show the address."""
        data = b"".join(framed(message_of(record, self._enterprise)) for record in records)
        end = time.monotonic() + self._seconds
        try:
            connection = self._connected()
            _send(connection, data, end)
            _wait_for_acknowledgement(connection, end)
        except OSError as error:
            self.close()
            raise NotTakenError(f"the connection failed ({type(error).__name__})") from None
        return 0

    def close(self) -> None:
        """End the connection, in order if that is possible at once."""
        if self._connection is None:
            return
        with suppress(OSError, ValueError):
            self._connection.settimeout(1.0)
            if isinstance(self._connection, ssl.SSLSocket):
                self._connection.unwrap()
        with suppress(OSError):
            self._connection.close()
        self._connection = None

    def _connected(self) -> socket.socket:
        """The connection; a new one if there is none, or if the other end has closed it. Raises `OSError`."""
        if self._connection is not None and _is_over(self._connection):
            self.close()
        if self._connection is None:
            plain = socket.create_connection(self._address, timeout=self._seconds)
            try:
                if self._tls is None:
                    self._connection = plain
                else:
                    self._connection = self._tls.wrap_socket(plain, server_hostname=self._address[0])
            except BaseException:
                plain.close()
                raise
        return self._connection


def _is_over(connection: socket.socket) -> bool:
    """Whether the other end has closed the connection. A receiver of syslog sends nothing else."""
    try:
        while select.select([connection], [], [], 0)[0]:
            connection.settimeout(0.0)
            if not connection.recv(4096):
                return True
    except (ssl.SSLWantReadError, BlockingIOError):
        return False  # records of TLS without content, such as a session ticket
    except OSError:
        return True
    return False


def _send(connection: socket.socket, data: bytes, end: float) -> None:
    """Send all of `data` before `end`, however slowly the other end reads. Raises `OSError`."""
    rest = memoryview(data)
    while rest:
        connection.settimeout(_left(end))
        rest = rest[connection.send(rest) :]


def _wait_for_acknowledgement(connection: socket.socket, end: float) -> None:
    """Wait until the other end's TCP has all bytes. Raises `OSError`."""
    while True:
        try:
            # On Linux: bytes that are not sent or not acknowledged (SIOCOUTQ).
            answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        except OSError:
            return
        if struct.unpack("i", answer)[0] == 0:
            return
        time.sleep(min(_LOOK_AGAIN, _left(end)))


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def framed(message: bytes) -> bytes:
    """Return a message with its length before it (RFC 5425 section 4.3)."""
    return b"%d %b" % (len(message), message)


def message_of(record: Record, enterprise: int) -> bytes:
    """Return the message of a record.

    The structured data has the place; `enterprise` is the private enterprise number in its name. The text of the
    message is the line of an event or an entry, byte for byte. The note of a checkpoint, which has several lines,
    is a text of JSON.
    """
    meaning = meaning_of(record)
    time_text = _NIL if meaning.time is None else moments.recorded(meaning.time)
    host = _name(record.node if record.node not in {"", NO_NODE} else "", _LONGEST["hostname"])
    words = (time_text, host, "portcullis", _name(record.writer, _LONGEST["procid"]))
    message_id = _name(meaning.name, _LONGEST["msgid"])
    head = f"<{_FACILITY * 8 + severity_of(meaning.severity)}>1 {' '.join(words)} {message_id}"
    data = "".join(f' {name}="{_escaped(value)}"' for name, value in parameters_of(record).items())
    text = json.dumps(record.text) if record.kind is RecordKind.CHECKPOINT else record.text
    return f"{head} [portcullis@{enterprise}{data}] {text}".encode()


def severity_of(severity: Severity) -> int:
    """The number of a severity (RFC 5424 section 6.2.1)."""
    return int(severity)


def parameters_of(record: Record) -> dict[str, str]:
    """The parameters of the structured data: what the record is, and its place."""
    found: dict[str, object] = {"record": record.kind.value, "tree": record.tree}
    for name in ("node", "writer", "boot"):
        if value := getattr(record, name):
            found[name] = value
    if record.kind is RecordKind.EVENT:
        found["sequence"] = record.sequence
    if record.kind is RecordKind.CHECKPOINT:
        found["size"] = record.index
    elif record.index is not None:
        found["index"] = record.index
    if record.entry is not None:
        found["entry"] = record.entry
    return {name: str(value) for name, value in found.items()}


def _name(text: str, longest: int) -> str:
    """A text as a name of the header: printable ASCII without spaces, and not too long."""
    return "".join(c if "!" <= c <= "~" else "_" for c in text)[:longest] or _NIL


def _escaped(value: str) -> str:
    """The value of a parameter (RFC 5424 section 6.3.3)."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
