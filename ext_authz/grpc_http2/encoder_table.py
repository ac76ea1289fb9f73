"""The dynamic table of the HPACK encoder: its size, and the updates that a header block must begin with."""

from __future__ import annotations

from ext_authz.grpc_http2 import http2_codec

_LARGEST = http2_codec.DEFAULT_TABLE_SIZE
_UPDATE_BITS = 5
_UPDATE_PATTERN = 0x20


class EncoderTable:
    """The size of the table in which the peer decodes our header blocks.

    Our header blocks never use the table. Its size still belongs to the connection: a peer that lowers
    SETTINGS_HEADER_TABLE_SIZE must find a size update at the start of the next header block (RFC 9113 section
    4.3.1, RFC 7541 section 4.2).
    """

    def __init__(self) -> None:
        self._limit = _LARGEST
        self._size = _LARGEST
        self._smallest: int | None = None

    def limit(self, size: int) -> None:
        """Process a value of SETTINGS_HEADER_TABLE_SIZE, in bytes. Call this once for each value, in order.

        A lower limit is always answered with an update, even if the table was smaller before: some decoders
        require it, and an update is never wrong.
        """
        usable = min(size, _LARGEST)
        if self._smallest is not None:
            self._smallest = min(self._smallest, usable)
        elif size < self._limit or usable != self._size:
            self._smallest = usable
        self._limit = size

    @property
    def has_updates(self) -> bool:
        """Whether the next header block must begin with `take_updates`."""
        return self._smallest is not None

    def take_updates(self) -> bytes:
        """Return the updates for the next header block: the smallest size since the last one, then the final size.

        There are at most two (RFC 7541 section 4.2), and none when the limit has not changed.
        """
        if self._smallest is None:
            return b""
        smallest, final = self._smallest, min(self._limit, _LARGEST)
        self._smallest, self._size = None, final
        return _update(smallest) if smallest == final else _update(smallest) + _update(final)


def _update(size: int) -> bytes:
    """Return a dynamic table size update (RFC 7541 section 6.3)."""
    return http2_codec.integer(size, _UPDATE_BITS, _UPDATE_PATTERN)
