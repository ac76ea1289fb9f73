"""Just enough HTTP/2 (RFC 9113) to ask fast: frames to send as bytes, and a reader of the frames that come.

Request headers are written without compression state (RFC 7541 section 6.2.2), so that the same header block
serves every request. We announce a header table of size zero, so the server's blocks carry no state either: a
block means the same wherever it comes, and each distinct one is decoded once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA = 0x0
HEADERS = 0x1
RST_STREAM = 0x3
SETTINGS = 0x4
PING = 0x6
GOAWAY = 0x7
WINDOW_UPDATE = 0x8
CONTINUATION = 0x9

ACK = 0x1
END_STREAM = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITY = 0x20

HEADER_TABLE_SIZE = 0x1
ENABLE_PUSH = 0x2
MAX_CONCURRENT_STREAMS = 0x3
INITIAL_WINDOW_SIZE = 0x4

DEFAULT_WINDOW = 65_535
LARGEST_WINDOW = 2**31 - 1
LARGEST_FRAME = 16_384
"""Bytes of payload that every peer must take in one frame (section 4.2); we use no more."""

_HEAD = struct.Struct(">HBBBI")
_SETTING = struct.Struct(">HI")
_NUMBER = struct.Struct(">I")
_PRIORITY_BYTES = 5
_HEAD_BYTES = 9
_LITERAL_PREFIX = 0x7F


class Frame(NamedTuple):
    """One frame as it came. `payload` still has its padding."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class ProtocolError(Exception):
    """The server sent something that is not HTTP/2 as we asked for it."""


def head(length: int, kind: int, flags: int, stream: int) -> bytes:
    """The nine bytes before a payload of `length` bytes (section 4.1)."""
    return _HEAD.pack(length >> 8, length & 0xFF, kind, flags, stream)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A whole frame."""
    return head(len(payload), kind, flags, stream) + payload


def opening() -> bytes:
    """What a client says first: no header table, no pushes, and more room for answers than we will ever need."""
    settings = b"".join(
        _SETTING.pack(*setting)
        for setting in ((HEADER_TABLE_SIZE, 0), (ENABLE_PUSH, 0), (INITIAL_WINDOW_SIZE, LARGEST_WINDOW))
    )
    return PREFACE + frame(SETTINGS, 0, 0, settings) + window_update(LARGEST_WINDOW - DEFAULT_WINDOW)


def window_update(size: int) -> bytes:
    """Give the server room for `size` more bytes on the connection (section 6.9)."""
    return frame(WINDOW_UPDATE, 0, 0, _NUMBER.pack(size))


def number(payload: bytes) -> int:
    """The 31-bit number that WINDOW_UPDATE carries, and that GOAWAY begins with."""
    if len(payload) < _NUMBER.size:
        raise ProtocolError("a frame is too short")
    value: int = _NUMBER.unpack_from(payload)[0]
    return value & LARGEST_WINDOW


def settings(payload: bytes) -> dict[int, int]:
    """The settings in the payload of a SETTINGS frame (section 6.5.1)."""
    if len(payload) % _SETTING.size:
        raise ProtocolError("a SETTINGS frame is cut short")
    return dict(_SETTING.iter_unpack(payload))


def header_block(headers: Iterable[tuple[str, str]]) -> bytes:
    """A header block that depends on nothing that went before: every field literal, none indexed."""
    return b"".join(b"\x00" + text(name.encode()) + text(value.encode()) for name, value in headers)


def text(value: bytes) -> bytes:
    """A string literal without Huffman code (RFC 7541 section 5.2)."""
    return length(len(value)) + value


def length(size: int) -> bytes:
    """A length as an integer with a prefix of seven bits (RFC 7541 section 5.1)."""
    if size < _LITERAL_PREFIX:
        return bytes((size,))
    out = bytearray((_LITERAL_PREFIX,))
    size -= _LITERAL_PREFIX
    while size >= 0x80:  # noqa: PLR2004 - seven bits to a byte
        out.append(size & 0x7F | 0x80)
        size >>= 7
    out.append(size)
    return bytes(out)


def content(frame: Frame) -> bytes:
    """The payload of a DATA or HEADERS frame without padding and priority (sections 6.1 and 6.2)."""
    payload, end = frame.payload, len(frame.payload)
    start = 0
    if frame.flags & PADDED:
        if not payload:
            raise ProtocolError("a padded frame is empty")
        start, end = 1, end - payload[0]
    if frame.kind == HEADERS and frame.flags & PRIORITY:
        start += _PRIORITY_BYTES
    if start > end:
        raise ProtocolError("a frame is all padding")
    return payload[start:end]


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Consume all of them before feeding again."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= _HEAD_BYTES:
            high, low, kind, flags, stream = _HEAD.unpack_from(data, at)
            after = at + _HEAD_BYTES + (high << 8 | low)
            if after > end:
                break
            yield Frame(kind, flags, stream & LARGEST_WINDOW, data[at + _HEAD_BYTES : after])
            at = after
        self._rest = data[at:]
