"""One HTTP/2 connection of the fast transport: its start, reading, writing and end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import structlog

from ext_authz.grpc_http2 import http2_codec, refused_connections
from ext_authz.grpc_http2.control_budget import ControlBudget
from ext_authz.grpc_http2.limits import CONNECTION_WINDOW, LARGEST_HEADERS, LOOKS, MOST_STREAMS, STREAM_WINDOW
from ext_authz.grpc_http2.outgoing import Outgoing
from ext_authz.grpc_http2.streams import Streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.grpc_http2.grpc_services import Calls

_OPENING = http2_codec.settings_frame(
    (
        (http2_codec.MAX_CONCURRENT_STREAMS, MOST_STREAMS),
        (http2_codec.INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        (http2_codec.MAX_HEADER_LIST_SIZE, LARGEST_HEADERS),
    )
) + http2_codec.window_update(CONNECTION_WINDOW - http2_codec.DEFAULT_WINDOW)

_GOODBYE = b"goodbye!"
_GOODBYE_SECONDS = 0.5
"""Seconds for the peer to close the connection itself after the last answer."""


class Connection(asyncio.Protocol):
    """The server's end. It is in `connections` for as long as it lasts. `clock` returns seconds."""

    def __init__(
        self, calls: Calls, connections: set[Connection], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connections = connections
        self._transport: asyncio.Transport | None = None
        self._outgoing = Outgoing(self._write)
        self._streams = Streams(calls, self._outgoing, self._control, ControlBudget(clock))
        self._last_named = http2_codec.LAST_STREAM
        self._rest = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection has ended."""
        self._is_draining = self._is_greeted = self._is_over = self._was_silent = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the server's connection preface (RFC 9113 section 3.4)."""
        self._transport = cast("asyncio.Transport", transport)
        self._connections.add(self)
        if (tls := transport.get_extra_info("ssl_object")) and tls.selected_alpn_protocol() != "h2":
            # Section 3.3: over TLS the protocol is negotiated. The peer may speak HTTP/1.1.
            refused_connections.log("no h2 in the TLS handshake (ALPN)")
            self.close()
            return
        self._transport.write(_OPENING)

    def connection_lost(self, _: Exception | None) -> None:
        """Drop the work of the connection, because no peer waits for answers any more."""
        self._is_over = True
        self._connections.discard(self)
        self._streams.abandon()
        # They refer back to this object. Without the cycle all memory is freed at once, and the collector has no
        # work.
        del self._streams, self._outgoing
        self._transport = None
        self.ended.set_result(None)

    def pause_writing(self) -> None:
        """Stop reading, because the peer does not read: answers for it must not pile up."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again, because the peer reads again."""
        if self._transport is not None and not self._is_over:
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Process received data, answer what can be answered at once, and send all answers together."""
        if self._is_over:
            return
        if self._rest:
            data = self._rest + data
        try:
            at = 0 if self._is_greeted else self._greet(data)
            self._rest = data[self._streams.read(data, at) :] if self._is_greeted else data
        except http2_codec.ProtocolError as error:
            if error.code == http2_codec.ENHANCE_YOUR_CALM:
                structlog.get_logger("server").warning("connection.flooded", reason=str(error))
            if not self._is_greeted:
                refused_connections.log(refused_connections.of_first_bytes(data))
            self._break(error.code)
        except Exception:  # noqa: BLE001 - any fault must end this connection and no other
            structlog.get_logger("server").exception("connection.failed")
            self._break(http2_codec.INTERNAL_ERROR)
        else:
            if self._streams.taken > CONNECTION_WINDOW // 2:
                self._outgoing.frames.append(http2_codec.window_update(self._streams.taken))
                self._streams.taken = 0
            self._outgoing.flush()

    def start_drain(self) -> None:
        """Accept no more calls, answer the open ones, and end (RFC 9113 section 6.8)."""
        if self._is_draining:
            return
        self._is_draining = True
        if not self._is_greeted:
            self.close()
        # The answer to the ping arrives after every call that the peer sent before it received this.
        self._outgoing.frames.append(http2_codec.goaway(http2_codec.LAST_STREAM, http2_codec.NO_ERROR))
        self._outgoing.frames.append(http2_codec.frame(http2_codec.PING, 0, 0, _GOODBYE))
        self._outgoing.flush()

    def sweep(self) -> None:
        """Called every few seconds: ends calls that are incomplete since before the last call of this method."""
        if self._is_greeted:
            self._streams.sweep()
            self._outgoing.flush()
        elif self._was_silent:
            self.close()
        self._was_silent = True

    def close(self) -> None:
        """End at once."""
        self._is_over = True
        if self._transport is not None:
            self._transport.close()

    def _greet(self, data: bytes) -> int:
        """Check that the peer speaks HTTP/2; returns where its first frame begins (section 3.4)."""
        preface = len(http2_codec.PREFACE)
        if data[:preface] != http2_codec.PREFACE[: len(data)]:
            raise http2_codec.ProtocolError("this is not HTTP/2")
        if len(data) >= preface + http2_codec.HEAD_BYTES:
            _, _, kind, flags, _ = http2_codec.HEAD.unpack_from(data, preface)
            if kind != http2_codec.SETTINGS or flags & http2_codec.ACK:
                raise http2_codec.ProtocolError("the first frame is not SETTINGS")
            self._is_greeted = True
        return preface

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Process a frame about the connection itself."""
        if stream:
            raise http2_codec.ProtocolError("a frame about the connection names a stream")
        if kind == http2_codec.SETTINGS:
            self._take_settings(flags, payload)
        elif kind == http2_codec.PING:
            http2_codec.check_size(payload, len(_GOODBYE))
            if not flags & http2_codec.ACK:
                self._outgoing.frames.append(http2_codec.frame(http2_codec.PING, http2_codec.ACK, 0, payload))
            elif payload == _GOODBYE and self._is_draining and self._streams.takes_more:
                self._streams.takes_more = False
                self._part(http2_codec.NO_ERROR)
        else:
            http2_codec.number(payload)  # a GOAWAY: the peer ends the connection when it has its answers

    def _take_settings(self, flags: int, payload: bytes) -> None:
        if flags & http2_codec.ACK:
            http2_codec.check_size(payload, 0)
            return
        values = http2_codec.settings(payload)
        self._streams.spend((len(values) + self._outgoing.streams_that_settings_concern) // LOOKS)
        self._outgoing.apply(values)

    def _break(self, code: int) -> None:
        """End with an error code, because the peer violated the protocol."""
        self._part(code)
        self._outgoing.flush()
        self.close()

    def _part(self, code: int) -> None:
        """Send the last call that is answered, which is never later than the one sent before (section 6.8)."""
        self._last_named = min(self._last_named, self._streams.last)
        self._outgoing.frames.append(http2_codec.goaway(self._last_named, code))

    def _write(self, data: bytes) -> None:
        if self._is_over or self._transport is None:
            return
        self._transport.write(data)
        if not self._streams.takes_more and self._streams.is_idle:  # that was the last answer
            asyncio.get_running_loop().call_later(_GOODBYE_SECONDS, self.close)
