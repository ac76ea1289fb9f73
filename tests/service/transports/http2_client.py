"""A raw HTTP/2 client, which can send calls that no gRPC client sends."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import h2.config
import h2.connection
import h2.events

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 60.0
CHECK = "/envoy.service.auth.v3.Authorization/Check"
GRPC = (("content-type", "application/grpc"), ("te", "trailers"))

Headers = Sequence[tuple[str, str]]


@dataclass
class Outcome:
    """How a call ended: headers and trailers together, the body, and a reset if there was one."""

    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    reset: int | None = None

    @property
    def grpc_status(self) -> int | None:
        """The status, if the server sent one."""
        return int(self.headers["grpc-status"]) if "grpc-status" in self.headers else None

    @property
    def message(self) -> bytes:
        """The one message in the body."""
        assert self.body[:1] == b"\0"
        assert int.from_bytes(self.body[1:5], "big") == len(self.body) - 5
        return self.body[5:]


class Http2Client:
    """Send the headers of a call. Return its stream."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE)
        self._socket.connect(str(path))
        # The tests send invalid data on purpose, so the library must not correct or refuse it.
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                header_encoding="utf-8", validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self._h2.initiate_connection()
        self._flush()

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def begin(self, *, path: str = CHECK, method: str = "POST", headers: Headers = GRPC, end: bool = False) -> int:
        """Send the head of a call; its stream."""
        stream: int = self._h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "http"), (":authority", "test"), (":path", path), *headers]
        self._h2.send_headers(stream, head, end_stream=end)
        self._flush()
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Send a SETTINGS frame during the connection."""
        self._h2.send_data(stream, data, end_stream=end)
        self._flush()

    def change_settings(self, values: dict[int, int]) -> None:
        """Cancel the call."""
        self._h2.update_settings(dict(values))
        self._flush()

    def reset(self, stream: int) -> None:
        """Give the call up."""
        self._h2.reset_stream(stream)
        self._flush()

    def outcome(self, stream: int) -> Outcome:
        """A complete call with this body."""
        outcome = Outcome()
        while True:
            data = self._socket.recv(65536)
            if not data:
                outcome.reset = -1
                return outcome
            for event in self._h2.receive_data(data):
                match event:
                    case h2.events.ResponseReceived() | h2.events.TrailersReceived():
                        if event.stream_id == stream:
                            outcome.headers |= {_text(name): _text(value) for name, value in event.headers}
                    case h2.events.DataReceived():
                        self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                        if event.stream_id == stream:
                            outcome.body += event.data
                    case h2.events.StreamReset() if event.stream_id == stream:
                        outcome.reset = int(event.error_code or 0)
                        self._flush()
                        return outcome
                    case h2.events.StreamEnded() if event.stream_id == stream:
                        self._flush()
                        return outcome
                    case h2.events.ConnectionTerminated():
                        outcome.reset = int(event.error_code or 0)
                        return outcome
            self._flush()

    def call(self, body: bytes, *, path: str = CHECK, method: str = "POST", headers: Headers = GRPC) -> Outcome:
        """A whole call with this very body."""
        stream = self.begin(path=path, method=method, headers=headers)
        self.send(stream, body, end=True)
        return self.outcome(stream)

    def _flush(self) -> None:
        self._socket.sendall(self._h2.data_to_send())


def _text(part: str | bytes) -> str:
    return part if isinstance(part, str) else part.decode("utf-8")
