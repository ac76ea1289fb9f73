"""What a client of HTTP/2 (RFC 9113) needs beside what it shares with our server: an opening, and a reader.

We announce a header table of size zero, so the server's blocks carry no state: a block means the same wherever it
comes, and each distinct one is decoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ext_authz.grpc_http2 import http2_codec

if TYPE_CHECKING:
    from collections.abc import Iterator


class Frame(NamedTuple):
    """One frame as it came. `payload` still has its padding."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def content(self) -> bytes:
        """What a DATA or HEADERS frame carries. Raises `http2.ProtocolError`."""
        return http2_codec.content(self.kind, self.flags, self.payload)


def opening() -> bytes:
    """What a client says first: no header table, no pushes, and more room for answers than we will ever need."""
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
    """Cuts a stream of bytes into frames."""

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
