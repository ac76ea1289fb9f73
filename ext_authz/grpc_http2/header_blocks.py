"""Request headers of one connection: decoded once, then recognised by their bytes.

A peer that repeats a request sends the same few bytes: references into a table that both ends keep (HPACK, RFC
7541). As long as that table does not change, the same bytes mean the same headers. So the meaning of a block is
cached until a block changes the table.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple, cast

from hpack import Decoder, HPACKError

from ext_authz.grpc_http2 import http2_codec
from ext_authz.grpc_http2.grpc_frames import is_grpc, seconds_left
from ext_authz.grpc_http2.grpc_services import EXPORT, HEALTH_CHECK, HEALTH_WATCH, PROCESS
from ext_authz.grpc_http2.limits import LARGEST_HEADERS, MOST_KNOWN_HEADERS
from ext_authz.service.health import CHECK_SERVICE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CHECK = f"/{CHECK_SERVICE}/Check".encode()
METHODS = frozenset({CHECK, EXPORT, HEALTH_CHECK, HEALTH_WATCH, PROCESS})

_RESIZES = range(0x20, 0x40)
"""First bytes of a block that resizes the table before anything else (RFC 7541 section 6.3)."""

_RESIZES_TOO_OFTEN = re.compile(rb"(?:[\x20-\x3e]|\x3f[\x80-\xff]*[\x00-\x7f]){3}")
"""There are at most two updates (RFC 7541 section 4.2); each costs a peer one byte, and this server much more."""

_REQUIRED = frozenset({b":method", b":path", b":scheme"})
_PSEUDO = _REQUIRED | {b":authority"}
_NAME = re.compile(rb"[\x21-\x39\x3b-\x40\x5b-\x7e]+")
_NOT_IN_A_VALUE = re.compile(rb"[\x00\r\n]|^[ \t]|[ \t]\Z")
_OF_A_CONNECTION = frozenset({b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class Call(NamedTuple):
    """The content of a request's headers. Equal requests share one.

    `is_plain_check` is true for a Check whose other values are the defaults. `timeout` is in seconds, `encoding`
    that of messages; `length` is that of the whole body in bytes, if it was announced.
    """

    path: bytes
    is_grpc: bool
    is_plain_check: bool
    timeout: float | None
    encoding: bytes
    length: int | None


class HeaderBlocks:
    """Reads the header blocks of one connection, each once and in order."""

    def __init__(self) -> None:
        self.known: dict[bytes, Call] = {}
        """The present meaning of blocks that were read before. Look here first."""
        self._decoder = Decoder(LARGEST_HEADERS)

    def read(self, block: bytes, stream: int) -> Call:
        """Return the meaning of a block that is not in `known`. Raises `http2_codec.ProtocolError`."""
        headers, as_before = self._decode(block)
        call = _call(headers, stream)
        # Only calls that are answered are worth caching. A call of another method must end at its headers each
        # time.
        if as_before and call.is_grpc and call.path in METHODS and len(self.known) < MOST_KNOWN_HEADERS:
            self.known[block] = call
        return call

    def skip(self, block: bytes) -> None:
        """Process a block whose headers do not matter. Raises `http2_codec.ProtocolError`."""
        self._decode(block)

    def read_trailers(self, block: bytes) -> Sequence[tuple[bytes, bytes]]:
        """Return the fields of a block after data, for `check_trailers`. Raises `http2_codec.ProtocolError`."""
        return self._decode(block)[0]

    def _decode(self, block: bytes) -> tuple[Sequence[tuple[bytes, bytes]], bool]:
        """Return the headers, and whether the table is unchanged, so that blocks keep their meaning."""
        if _RESIZES_TOO_OFTEN.match(block):
            raise http2_codec.ProtocolError(
                "a header block resizes the table too often", http2_codec.COMPRESSION_ERROR
            )
        entries = self._decoder.header_table.dynamic_entries
        # The newest entry is the first, and entries are removed from the other end.
        newest, count = entries[0] if entries else None, len(entries)
        try:
            headers = cast("list[tuple[bytes, bytes]]", self._decoder.decode(block, raw=True))
        except HPACKError:
            raise http2_codec.ProtocolError(
                "a header block cannot be read", http2_codec.COMPRESSION_ERROR
            ) from None
        # A block that resizes the table must be processed each time. With another size also a known block may mean
        # something else: a block that adds an entry adds none to a table of size 0.
        resizes = block[:1] and block[0] in _RESIZES
        if resizes or len(entries) != count or (entries and entries[0] is not newest):
            self.known.clear()
            return headers, False
        return headers, True


def _call(headers: Iterable[tuple[bytes, bytes]], stream: int) -> Call:
    """Check the headers by RFC 9113 section 8, and keep the needed ones. Raises `http2_codec.ProtocolError`."""
    pseudo: dict[bytes, bytes] = {}
    fields: dict[bytes, bytes] = {}
    for name, value in headers:
        if name.startswith(b":"):
            if fields or name in pseudo or name not in _PSEUDO or _NOT_IN_A_VALUE.search(value):
                raise _malformed(stream)
            pseudo[name] = value
        else:
            _check_field(name, value, stream)
            if name == b"content-length" and fields.get(name, value) != value:
                raise _malformed(stream)
            fields.setdefault(name, value)
    _check_target(pseudo, stream)
    length = fields.get(b"content-length")
    if length is not None and not (length.isdigit() and len(length) < 16):  # noqa: PLR2004 - what an int may be
        raise _malformed(stream)
    path = pseudo.get(b":path", b"")
    speaks_grpc = pseudo[b":method"] == b"POST" and is_grpc(fields.get(b"content-type", b""))
    return Call(
        path=path,
        is_grpc=speaks_grpc,
        is_plain_check=speaks_grpc and path == CHECK and length is None,
        timeout=seconds_left(fields.get(b"grpc-timeout", b"")),
        encoding=fields.get(b"grpc-encoding", b""),
        length=None if length is None else int(length),
    )


def _check_target(pseudo: dict[bytes, bytes], stream: int) -> None:
    """Check that a request has a target (RFC 9113 sections 8.3.1 and 8.5)."""
    if b"@" in pseudo.get(b":authority", b"") or not pseudo.get(b":method"):
        raise _malformed(stream)
    if pseudo[b":method"] == b"CONNECT":
        is_good = pseudo.keys() == {b":method", b":authority"}
    else:
        is_good = pseudo.keys() >= _REQUIRED and (
            pseudo[b":path"].startswith(b"/") or (pseudo[b":path"], pseudo[b":method"]) == (b"*", b"OPTIONS")
        )
    if not is_good:
        raise _malformed(stream)


def check_trailers(trailers: Sequence[tuple[bytes, bytes]], stream: int) -> None:
    """Check that trailers are only fields (RFC 9113 section 8.1). Raises `http2_codec.ProtocolError`."""
    for name, value in trailers:
        _check_field(name, value, stream)


def _check_field(name: bytes, value: bytes, stream: int) -> None:
    """Check that a field that is no pseudo-header is one of HTTP/2 (RFC 9113 sections 8.2.1 and 8.2.2)."""
    if (
        not _NAME.fullmatch(name)
        or _NOT_IN_A_VALUE.search(value)
        or name in _OF_A_CONNECTION
        or (name == b"te" and value != b"trailers")
    ):
        raise _malformed(stream)


def _malformed(stream: int) -> http2_codec.ProtocolError:
    return http2_codec.ProtocolError("a request is malformed", stream=stream)
