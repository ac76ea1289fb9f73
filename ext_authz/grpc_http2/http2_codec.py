"""HTTP/2 (RFC 9113) as bytes: kinds of frames, settings, errors, and header blocks that depend on no state.

`limits` has the sizes and numbers that a peer may use.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ext_authz.grpc_http2.limits import LARGEST_FRAME

if TYPE_CHECKING:
    from collections.abc import Iterable

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0x0
HEADERS = 0x1
PRIORITY = 0x2
RST_STREAM = 0x3
SETTINGS = 0x4
PUSH_PROMISE = 0x5
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
HAS_PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4
MAX_FRAME_SIZE = 0x5
MAX_HEADER_LIST_SIZE = 0x6

NO_ERROR = 0x0
PROTOCOL_ERROR = 0x1
INTERNAL_ERROR = 0x2
FLOW_CONTROL_ERROR = 0x3
STREAM_CLOSED = 0x5
FRAME_SIZE_ERROR = 0x6
REFUSED_STREAM = 0x7
CANCEL = 0x8
COMPRESSION_ERROR = 0x9
ENHANCE_YOUR_CALM = 0xB

DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
LAST_STREAM = 2**31 - 1
DEFAULT_TABLE_SIZE = 4096
"""Bytes of a dynamic table before any setting (section 6.5.2)."""

HEAD_BYTES = 9
PRIORITY_BYTES = 5
HEAD = struct.Struct(">HBBBI")
"""The head of a frame: its length in two bytes and one, its kind, its flags, its stream (section 4.1)."""

NUMBER = struct.Struct(">I")
SETTING = struct.Struct(">HI")
_TEXT_BITS = 7


class ProtocolError(Exception):
    """The peer violated the protocol. With `stream` 0 the connection must end, else that stream (section 5.4)."""

    def __init__(self, message: str, code: int = PROTOCOL_ERROR, stream: int = 0) -> None:
        super().__init__(message)
        self.code = code
        self.stream = stream


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """Return the nine bytes before a payload of `length` bytes (section 4.1)."""
    return HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    return head(len(payload), kind, flags, stream) + payload


def settings_frame(values: Iterable[tuple[int, int]]) -> bytes:
    """Return a SETTINGS frame (section 6.5)."""
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(*value) for value in values))


def window_update(size: int, stream: int = 0) -> bytes:
    """Return a frame that gives the peer room for `size` more bytes on the stream, or connection (section 6.9)."""
    return frame(WINDOW_UPDATE, 0, stream, NUMBER.pack(size))


def reset(stream: int, code: int) -> bytes:
    """Return a frame that ends a stream at once (section 6.4)."""
    return frame(RST_STREAM, 0, stream, NUMBER.pack(code))


def goaway(last: int, code: int) -> bytes:
    """Return a frame which announces that no stream above `last` is or will be answered (section 6.8)."""
    return frame(GOAWAY, 0, 0, NUMBER.pack(last) + NUMBER.pack(code))


def number(payload: bytes) -> int:
    """Return the 31-bit number in a WINDOW_UPDATE, or at the start of a GOAWAY. Raises `ProtocolError`."""
    if len(payload) < NUMBER.size:
        raise ProtocolError("a frame is too short", FRAME_SIZE_ERROR)
    value: int = NUMBER.unpack_from(payload)[0]
    return value & LARGEST_WINDOW


def settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the settings in the payload of a SETTINGS frame, in order (section 6.5.2). Raises `ProtocolError`."""
    if len(payload) % SETTING.size:
        raise ProtocolError("a SETTINGS frame is cut short", FRAME_SIZE_ERROR)
    values = list(SETTING.iter_unpack(payload))
    for name, value in values:
        if name == INITIAL_WINDOW_SIZE and value > LARGEST_WINDOW:
            raise ProtocolError("a window is too large", FLOW_CONTROL_ERROR)
        if (name == ENABLE_PUSH and value > 1) or (
            name == MAX_FRAME_SIZE and not LARGEST_FRAME <= value < 1 << 24  # three bytes of length
        ):
            raise ProtocolError("a setting has a value that it cannot have")
    return values


def check_size(payload: bytes, size: int) -> None:
    """Check the size of a frame of fixed size. Raises `ProtocolError`."""
    if len(payload) != size:
        raise ProtocolError("a frame has a size that it cannot have", FRAME_SIZE_ERROR)


def check_priority(stream: int, payload: bytes) -> None:
    """Check that a priority, which is not used here, is valid (section 6.3). Raises `ProtocolError`."""
    if not stream:
        raise ProtocolError("a priority of no stream")
    if len(payload) != PRIORITY_BYTES:
        raise ProtocolError("a priority has a size that it cannot have", FRAME_SIZE_ERROR, stream)
    if number(payload) == stream:
        raise ProtocolError("a stream depends on itself", stream=stream)


def content(kind: int, flags: int, payload: bytes) -> bytes:
    """Return the content of a DATA or HEADERS frame, without padding and priority (sections 6.1 and 6.2).

    Raises `ProtocolError`.
    """
    start, end = 0, len(payload)
    if flags & PADDED:
        if not payload:
            raise ProtocolError("a padded frame is empty", FRAME_SIZE_ERROR)
        start, end = 1, end - payload[0]
    if kind == HEADERS and flags & HAS_PRIORITY:
        start += PRIORITY_BYTES
        if start > len(payload):
            raise ProtocolError("a frame is too short for its priority", FRAME_SIZE_ERROR)
    if start > end:
        raise ProtocolError("a frame is all padding")
    return payload[start:end]


def header_block(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a header block that depends on no earlier block: every field literal, none indexed."""
    return b"".join(b"\x00" + text(name) + text(value) for name, value in headers)


def text(value: bytes) -> bytes:
    """Return a string literal without Huffman code (RFC 7541 section 5.2)."""
    return integer(len(value), _TEXT_BITS) + value


def integer(value: int, bits: int, pattern: int = 0) -> bytes:
    """Return an integer with a prefix of `bits` bits, and `pattern` in its first byte (RFC 7541 section 5.1)."""
    largest = (1 << bits) - 1
    if value < largest:
        return bytes((pattern | value,))
    out = bytearray((pattern | largest,))
    value -= largest
    while value >= 0x80:  # noqa: PLR2004 - seven bits to a byte
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
