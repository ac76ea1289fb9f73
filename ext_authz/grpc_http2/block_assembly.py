"""Field blocks that arrive in one frame or in several (RFC 9113 sections 4.3, 6.2 and 6.10)."""

from __future__ import annotations

from typing import NamedTuple

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.limits import LARGEST_FIELD_BLOCK


class Block(NamedTuple):
    """A whole field block, still compressed. `ended` means that its stream ends with it.

    `depends_on_itself` is an error of RFC 7540 section 5.3.1, which RFC 9113 no longer mentions.
    """

    stream: int
    data: bytes
    ended: bool
    depends_on_itself: bool


class BlockAssembly:
    """Joins the frames of one field block. Belongs to one connection."""

    def __init__(self) -> None:
        self.stream: int | None = None
        """The stream of the unfinished block. Only its CONTINUATION frames may arrive now."""
        self._begun = Block(0, b"", ended=False, depends_on_itself=False)
        self._data = bytearray()

    def begin(self, flags: int, stream: int, payload: bytes) -> Block | None:
        """Process a HEADERS frame; returns the block, if it is complete. Raises `http2_codec.ProtocolError`."""
        if not stream & 1:
            raise http2_codec.ProtocolError("no stream of a client's")
        data = http2_codec.content(http2_codec.HEADERS, flags, payload)
        place = payload[1 if flags & http2_codec.PADDED else 0 :][: http2_codec.PRIORITY_BYTES]
        depends_on_itself = bool(flags & http2_codec.HAS_PRIORITY) and http2_codec.number(place) == stream
        block = Block(stream, data, bool(flags & http2_codec.END_STREAM), depends_on_itself)
        if flags & http2_codec.END_HEADERS:
            return block
        self.stream, self._begun, self._data = stream, block, bytearray(data)
        return None

    def go_on(self, flags: int, payload: bytes) -> Block | None:
        """Process a CONTINUATION frame; returns the complete block, if any. Raises `http2_codec.ProtocolError`."""
        if self.stream is None:
            raise http2_codec.ProtocolError("nothing is to be continued")
        self._data += payload
        if len(self._data) > LARGEST_FIELD_BLOCK or not (payload or flags & http2_codec.END_HEADERS):
            raise http2_codec.ProtocolError("a header block without end", http2_codec.ENHANCE_YOUR_CALM)
        if not flags & http2_codec.END_HEADERS:
            return None
        self.stream = None
        return self._begun._replace(data=bytes(self._data))
