"""The frames that an HTTP/2 connection sends: in order, and held back without room at the peer (RFC 9113, 5.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.encoder_table import EncoderTable
from ext_authz.grpc_http2.grpc_frames import PREFIX
from ext_authz.grpc_http2.limits import LARGEST_FRAME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ext_authz.grpc_http2.grpc_frames import CallError

_STATUS_200 = b"\x88"  # the whole field is in the static table of HPACK
_GRPC = http2_codec.header_block([(b"content-type", b"application/grpc")])
_BEGIN = _STATUS_200 + _GRPC
_END = http2_codec.header_block([(b"grpc-status", b"0")])
_NOT_GRPC = http2_codec.header_block(
    [(b":status", b"415"), (b"content-type", b"text/plain"), (b"accept-post", b"application/grpc")]
)
_ONLY_GRPC = b"Only gRPC is spoken here.\n"

_ENDS = http2_codec.END_HEADERS | http2_codec.END_STREAM
_TO_STREAM = -4
"""The head of a frame ends with the four bytes of its stream."""

_BEGIN_HEAD = http2_codec.head(len(_BEGIN), http2_codec.HEADERS, http2_codec.END_HEADERS, 0)[:_TO_STREAM]
_END_HEAD = http2_codec.head(len(_END), http2_codec.HEADERS, _ENDS, 0)[:_TO_STREAM]
# An answer without its end: from the size of its DATA frame on, in the order of the bytes.
_ONE_ANSWER = b"".join((_BEGIN_HEAD, b"%b", _BEGIN, b"%b\0\0%b\0%b%b", _END_HEAD, b"%b", _END))


class _Held:
    """Data that a stream could not send yet. Once `is_whole`, `block` is the header block that ends it, if any.

    The block is not a frame yet: only at the time of sending is it known whether it begins with an update of the
    table.
    """

    __slots__ = ("block", "data", "is_whole")

    def __init__(self) -> None:
        self.data = bytearray()
        self.block: bytes | None = None
        self.is_whole = False


class Outgoing:
    """The frames to send next, and the windows of the peer. `write` takes the bytes of whole frames."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.frames: list[bytes] = []
        """The frames of the next `flush`. A frame that needs no room may be added."""
        self._write = write
        self._window = http2_codec.DEFAULT_WINDOW
        self._initial = http2_codec.DEFAULT_WINDOW
        # The distance of a stream's window from the initial one, for windows that differ.
        self._moved: dict[int, int] = {}
        # No stream's window exceeds the initial one by more than this.
        self._most_moved = 0
        self._table = EncoderTable()
        # Bytes of an answer that can be sent as one piece: 0 while its first block must begin with an update.
        self._one_piece = LARGEST_FRAME
        self.held: dict[int, _Held] = {}
        """Streams with data to send as soon as the peer makes room."""

    def flush(self) -> None:
        """Send all frames in one write."""
        if self.frames:
            data = b"".join(self.frames)
            self.frames.clear()
            self._write(data)

    def answer(self, stream: int, message: bytes) -> None:
        """Answer a call with one message and the status OK."""
        size = len(message) + PREFIX
        if size > self._one_piece or size > self._window or stream in self._moved:
            self.begin(stream)
            self.message(stream, message)
            self._finish(stream, _END)
            return
        self._window -= size
        number = stream.to_bytes(4, "big")
        length = size.to_bytes(3, "big")
        self.frames.append(
            _ONE_ANSWER % (number, length, number, (size - PREFIX).to_bytes(4, "big"), message, number)
        )

    def begin(self, stream: int) -> None:
        """Begin an answer with any number of messages."""
        self._headers(stream, _BEGIN)

    def message(self, stream: int, message: bytes) -> None:
        """Send one message of an answer that has begun."""
        self._send(stream, b"\0" + len(message).to_bytes(4, "big") + message)

    def finish(self, stream: int, *, begun: bool) -> None:
        """End a call of any number of messages with the status OK."""
        if not begun:
            self.begin(stream)
        self._finish(stream, _END)

    def unsent(self, stream: int) -> int:
        """Return the bytes of messages for which the peer has no room yet."""
        held = self.held.get(stream)
        return 0 if held is None else len(held.data)

    def fail(self, stream: int, error: CallError, *, begun: bool = False) -> None:
        """End a call with a status other than OK."""
        status = http2_codec.header_block(error.headers)
        self._finish(stream, status if begun else _BEGIN + status)

    def refuse(self, stream: int) -> None:
        """Answer a request that is not gRPC."""
        self._headers(stream, _NOT_GRPC)
        self._send(stream, _ONLY_GRPC)
        self._finish(stream)

    def forget(self, stream: int) -> None:
        """Send no more on a stream that is over."""
        self.held.pop(stream, None)
        self._moved.pop(stream, None)

    def apply(self, settings: Sequence[tuple[int, int]]) -> None:
        """Process the settings of one frame in order, acknowledge them, and use new room (section 6.5.3).

        Raises `http2_codec.ProtocolError` when a window would become too large (section 6.9.2).
        """
        before = self._initial
        for name, value in settings:
            if name == http2_codec.HEADER_TABLE_SIZE:
                self._table.limit(value)
            elif name == http2_codec.INITIAL_WINDOW_SIZE:
                self._check_windows_can_start_at(value)
                self._initial = value
        self._choose_one_piece()
        # Before anything that relies on the settings: from here on the peer expects them to be applied.
        self.frames.append(http2_codec.frame(http2_codec.SETTINGS, http2_codec.ACK, 0))
        # Only once for a frame, which can carry thousands of values.
        if self._initial > before:
            self._pump_all()

    @property
    def streams_that_settings_concern(self) -> int:
        """The number of streams that `apply` may have to process."""
        return len(self.held) + len(self._moved)

    def widen(self, stream: int, size: int) -> int:
        """Process new room on a stream, or with 0 on the connection. Raises `http2_codec.ProtocolError`.

        Returns how many waiting answers were processed that can still not continue.
        """
        window = (self._window if stream == 0 else self._initial + self._moved.get(stream, 0)) + size
        if window > http2_codec.LARGEST_WINDOW:
            raise http2_codec.ProtocolError("a window is too large", http2_codec.FLOW_CONTROL_ERROR, stream)
        if stream == 0:
            self._window = window
            return self._pump_all()
        self._moved[stream] = window - self._initial
        self._most_moved = max(self._most_moved, window - self._initial)
        if held := self.held.get(stream):
            self._pump(stream, held)
        return 0

    def _check_windows_can_start_at(self, size: int) -> None:
        if size + self._most_moved <= http2_codec.LARGEST_WINDOW:
            return
        self._most_moved = max(self._moved.values(), default=0)
        if size + self._most_moved > http2_codec.LARGEST_WINDOW:
            raise http2_codec.ProtocolError("a window becomes too large", http2_codec.FLOW_CONTROL_ERROR)

    def _choose_one_piece(self) -> None:
        self._one_piece = 0 if self._table.has_updates else min(self._initial, LARGEST_FRAME)

    def _headers(self, stream: int, block: bytes, flags: int = http2_codec.END_HEADERS) -> None:
        """Send a header block. The first one after a change of the table's size begins with the update."""
        if self._table.has_updates:
            block = self._table.take_updates() + block
            self._choose_one_piece()
        self.frames.append(http2_codec.frame(http2_codec.HEADERS, flags, stream, block))

    def _send(self, stream: int, data: bytes) -> None:
        held = self.held.setdefault(stream, _Held())
        held.data += data
        self._pump(stream, held)

    def _finish(self, stream: int, block: bytes | None = None) -> None:
        """End the stream with a header block, or without one."""
        if held := self.held.get(stream):
            held.block, held.is_whole = block, True
        else:
            self._end(stream, block)

    def _end(self, stream: int, block: bytes | None) -> None:
        if block is None:
            self.frames.append(http2_codec.frame(http2_codec.DATA, http2_codec.END_STREAM, stream))
        else:
            self._headers(stream, block, _ENDS)
        self.forget(stream)

    def _pump_all(self) -> int:
        """Let every stream continue while the connection has room; returns how many could not."""
        vain = 0
        for stream, held in list(self.held.items()):
            if self._window <= 0:
                break
            vain += not self._pump(stream, held)
        return vain

    def _pump(self, stream: int, held: _Held) -> bool:
        """Send as much as there is room for; returns whether that was anything."""
        sent = False
        while held.data:
            moved = self._moved.get(stream, 0)
            size = min(len(held.data), self._window, self._initial + moved, LARGEST_FRAME)
            if size <= 0:
                return sent
            sent = True
            self.frames.append(http2_codec.frame(http2_codec.DATA, 0, stream, bytes(held.data[:size])))
            del held.data[:size]
            self._window -= size
            self._moved[stream] = moved - size
        del self.held[stream]
        if held.is_whole:
            self._end(stream, held.block)
        return sent
