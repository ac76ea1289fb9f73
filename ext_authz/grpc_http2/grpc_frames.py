"""The little of gRPC over HTTP/2 that a unary call needs: frames, statuses and deadlines.

Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

OK = 0
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
RESOURCE_EXHAUSTED = 8
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14

PREFIX = 5
"""Bytes before each message: one that says whether it is compressed, and four with its length."""

LARGEST_MESSAGE = 1024 * 1024
"""Bytes of a Check. Envoy's own limit on all headers together is 60 KiB unless it is raised."""

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?[ \t]*(;.*)?", re.IGNORECASE)

Headers = tuple[tuple[bytes, bytes], ...]


class CallError(Exception):
    """A call that ends with another status than OK."""

    def __init__(self, status: int, message: str, *more: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.more = more

    @property
    def headers(self) -> Headers:
        """The status as headers or trailers; the message as the protocol wants it, in percent escapes."""
        text = quote(self.message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
        return ((b"grpc-status", b"%d" % self.status), (b"grpc-message", text.encode("ascii")), *self.more)


def is_grpc(content_type: bytes) -> bool:
    """Whether a request of this type is a gRPC call with protobuf messages."""
    return content_type == b"application/grpc" or _CONTENT_TYPE.fullmatch(content_type) is not None


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """The first value of the header called `name`, in lower case; empty when there is none."""
    for key, value in headers:
        if key == name:
            return value
    return b""


def seconds_left(timeout: bytes) -> float | None:
    """The value of `grpc-timeout` in seconds. `None` when there is no readable one: then nobody set a limit."""
    match = _TIMEOUT.fullmatch(timeout)
    return int(match[1]) * _UNITS[match[2]] if match else None


def frame(message: bytes) -> bytes:
    """One uncompressed message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def check_prefix(data: bytes | bytearray, encoding: bytes, largest: int) -> None:
    """Refuse what begins like no message we would read, however little of it has come.

    Raises `CallError`. `encoding` is the value of `grpc-encoding`.
    """
    if data[:1] == b"\1":
        if encoding in {b"", b"identity"}:
            raise CallError(INTERNAL, "the message is marked as compressed, but no encoding is named")
        # Nobody compresses a Check but somebody who wants us to unpack a bomb.
        raise CallError(UNIMPLEMENTED, "no message encoding is supported", (b"grpc-accept-encoding", b"identity"))
    if data and data[0] != 0:
        raise CallError(INTERNAL, "the message does not begin with a gRPC prefix")
    if len(data) >= PREFIX and int.from_bytes(data[1:PREFIX], "big") > largest:
        raise CallError(RESOURCE_EXHAUSTED, f"the message is larger than {largest} bytes")


def message_in(data: bytes | bytearray) -> bytes:
    """The one message that a whole request body, whose prefix was checked, consists of. Raises `CallError`."""
    if len(data) < PREFIX or int.from_bytes(data[1:PREFIX], "big") != len(data) - PREFIX:
        raise CallError(INTERNAL, "the request is not exactly one whole message")
    return bytes(data[PREFIX:])
