"""The client side of HTTP/2 (RFC 9113), beside the code shared with our server: an opening, and a reader.

The client announces a header table of size zero, so the server's blocks carry no state: equal blocks have equal
meanings, and each distinct one is decoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ext_authz.grpc_http2 import http2_codec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Frame(NamedTuple):
    """One frame as received. `payload` still has its padding."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def content(self) -> bytes:
        """The content of a DATA or HEADERS frame. Raises `http2.ProtocolError`."""
        return http2_codec.content(self.kind, self.flags, self.payload)


def opening() -> bytes:
    """The first bytes of a client: no header table, no pushes, and a larger window than the answers need."""
    settings = http2_codec.settings_frame(
        (
            (http2_codec.HEADER_TABLE_SIZE, 0),
            (http2_codec.ENABLE_PUSH, 0),
            (http2_codec.INITIAL_WINDOW_SIZE, http2_codec.LARGEST_WINDOW),
        )
    )
    return (
        http2_codec.PREFACE
        + settings
        + http2_codec.window_update(http2_codec.LARGEST_WINDOW - http2_codec.DEFAULT_WINDOW)
    )


class FrameReader:
    """Splits a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Consume all of them before feeding again."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= http2_codec.HEAD_BYTES:
            high, low, kind, flags, stream = http2_codec.HEAD.unpack_from(data, at)
            after = at + http2_codec.HEAD_BYTES + (high << 8 | low)
            if after > end:
                break
            yield Frame(kind, flags, stream & http2_codec.LAST_STREAM, data[at + http2_codec.HEAD_BYTES : after])
            at = after
        self._rest = data[at:]
