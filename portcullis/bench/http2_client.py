"""What a client of HTTP/2 (RFC 9113) needs beside what it shares with our server: an opening, and a reader.

We announce a header table of size zero, so the server's blocks carry no state: a block means the same wherever it
comes, and each distinct one is decoded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ext_authz.grpc_http2 import http2

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
        return http2.content(self.kind, self.flags, self.payload)


def opening() -> bytes:
    """What a client says first: no header table, no pushes, and more room for answers than we will ever need."""
    settings = http2.settings_frame(
        ((http2.HEADER_TABLE_SIZE, 0), (http2.ENABLE_PUSH, 0), (http2.INITIAL_WINDOW_SIZE, http2.LARGEST_WINDOW))
    )
    return http2.PREFACE + settings + http2.window_update(http2.LARGEST_WINDOW - http2.DEFAULT_WINDOW)


class FrameReader:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes. Consume all of them before feeding again."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= http2.HEAD_BYTES:
            high, low, kind, flags, stream = http2.HEAD.unpack_from(data, at)
            after = at + http2.HEAD_BYTES + (high << 8 | low)
            if after > end:
                break
            yield Frame(kind, flags, stream & http2.LAST_STREAM, data[at + http2.HEAD_BYTES : after])
            at = after
        self._rest = data[at:]
