"""The frames of an audit segment: batches of events, each with the digest of the frame before it.

Each process appends frames to segments of its own. A frame is::

    marker  4 bytes   PCA1
    kind    1 byte    H opens a segment, E has events, Z is the last one of a writer that stopped in order
    number  8 bytes   of this frame, from 1, counted over all segments of one start ("boot") of the writer
    first   8 bytes   the sequence number of its first event, from 1, counted in the same way
    count   4 bytes   its events
    length  4 bytes   of its content
    before  32 bytes  the SHA-256 of the frame before, or zeros for the first one of a boot
    content           compressed (Zstandard, RFC 8878): lines of JSON, one for each event, or one that describes
                      the segment

Numbers are unsigned and big-endian. The digest of a frame covers all of it. So a frame that was changed, removed,
added or moved does not fit to the next one; the sealer's tree protects the last one.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import zstandard

from oauth_core.crypto.digests import sha256

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MARKER = b"PCA1"
NO_FRAME = bytes(32)
"""The digest before the first frame of a boot."""
MOST_CONTENT = 16 * 1024 * 1024
"""Bytes of the uncompressed content of a frame; a writer stays far below, and a reader refuses more."""
MOST_NUMBER = 10**18 - 1
"""The highest number of a frame or an event. No writer reaches it. A checkpoint has no room for a longer one, so a
forged frame with one would be the end of the sealed tree."""

_HEAD = struct.Struct(">4scQQII32s")
HEAD_BYTES = _HEAD.size


class FrameKind(Enum):
    """The purpose of a frame."""

    OPENING = b"H"
    EVENTS = b"E"
    CLOSING = b"Z"


class FrameError(ValueError):
    """The bytes are no frame. The message says why."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it is stored, with its digest."""

    kind: FrameKind
    number: int
    first: int
    count: int
    before: bytes
    content: bytes
    """Compressed."""
    digest: bytes

    @property
    def size(self) -> int:
        """The bytes of the frame in its segment."""
        return HEAD_BYTES + len(self.content)

    @property
    def following(self) -> int:
        """The sequence number of the first event after this frame."""
        return self.first + self.count

    def text(self) -> bytes:
        """Return the content, uncompressed. Raises `FrameError` when it is not intact or too large."""
        try:
            # Before it is decompressed: for a frame that states its size, the library ignores `max_output_size`.
            if not 0 <= zstandard.frame_content_size(self.content) <= MOST_CONTENT:
                raise FrameError(f"a frame has at most {MOST_CONTENT} bytes, and states how many")
            return zstandard.ZstdDecompressor().decompress(self.content, max_output_size=MOST_CONTENT)
        except zstandard.ZstdError as error:
            raise FrameError(f"the content cannot be decompressed: {error}") from None

    def lines(self) -> list[bytes]:
        """Return the lines of the content. Raises `FrameError` when it is not intact or too large."""
        return self.lines_of(self.text())

    def lines_of(self, text: bytes) -> list[bytes]:
        """Return the lines of `text`, which `text()` returned. Raises `FrameError` when they are not `count`."""
        lines = text.split(b"\n")[:-1] if text.endswith(b"\n") else [b""]
        if self.kind is FrameKind.EVENTS and len(lines) != self.count:
            raise FrameError(f"the frame has {len(lines)} events instead of {self.count}")
        return lines


class FrameEncoder:
    """Encodes the frames of one boot of a writer, one after the other."""

    def __init__(self) -> None:
        self._number = 0
        self._next = 1
        self._before = NO_FRAME
        self._compressor = zstandard.ZstdCompressor(level=1, write_checksum=True, write_content_size=True)

    @property
    def last_digest(self) -> bytes:
        """The digest of the last encoded frame, or zeros."""
        return self._before

    @property
    def next_sequence(self) -> int:
        """The sequence number of the next event."""
        return self._next

    def encode(self, kind: FrameKind, lines: Iterable[bytes]) -> bytes:
        """Return the next frame, with `lines` as its content.

        A line is JSON without a line break. Only the lines of a frame of events get sequence numbers. Raises
        `FrameError` when the content is too large; no number is used then.
        """
        listed = list(lines)
        return self.encode_text(kind, b"\n".join((*listed, b"")), len(listed))

    def encode_text(self, kind: FrameKind, text: bytes, lines: int) -> bytes:
        """Do what `encode` does for so many `lines` in one text, each with a line break at its end."""
        if len(text) > MOST_CONTENT:
            raise FrameError(f"a frame has at most {MOST_CONTENT} bytes")
        content = self._compressor.compress(text)
        count = lines if kind is FrameKind.EVENTS else 0
        head = _HEAD.pack(MARKER, kind.value, self._number + 1, self._next, count, len(content), self._before)
        frame = head + content
        self._number += 1
        self._next += count
        self._before = sha256(frame)
        return frame


def read(data: bytes, offset: int = 0) -> Frame | None:
    """Return the frame at `offset` of `data`, or `None` when it is not complete: its writer did not finish it.

    Raises `FrameError` when no frame begins there.
    """
    head = data[offset : offset + HEAD_BYTES]
    if len(head) < HEAD_BYTES:
        if not MARKER.startswith(head[: len(MARKER)]):
            raise FrameError("no frame begins here")
        return None
    marker, kind, number, first, count, length, before = _HEAD.unpack(head)
    if marker != MARKER:
        raise FrameError("no frame begins here")
    try:
        known = FrameKind(kind)
    except ValueError:
        raise FrameError(f"{kind!r} is no kind of frame") from None
    if length > MOST_CONTENT:
        raise FrameError(f"a frame has at most {MOST_CONTENT} bytes")
    if number > MOST_NUMBER or first + count > MOST_NUMBER:
        raise FrameError(f"a number is at most {MOST_NUMBER}")
    end = offset + HEAD_BYTES + length
    if len(data) < end:
        return None
    whole = data[offset:end]
    return Frame(known, number, first, count, before, whole[HEAD_BYTES:], sha256(whole))


def encoded(frame: Frame) -> bytes:
    """Return the bytes of a frame as they are in its segment."""
    numbers = (frame.number, frame.first, frame.count, len(frame.content), frame.before)
    return _HEAD.pack(MARKER, frame.kind.value, *numbers) + frame.content


def read_all(data: bytes) -> Iterator[Frame]:
    """Yield the complete frames of a segment in their order. Raises `FrameError` where no frame begins."""
    offset = 0
    while (frame := read(data, offset)) is not None:
        yield frame
        offset += frame.size
