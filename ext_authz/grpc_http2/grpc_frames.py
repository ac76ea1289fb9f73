"""The parts of gRPC over HTTP/2 that a unary call needs: frames, statuses and deadlines.

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
"""Bytes before each message: one that marks compression, and four with its length."""

_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_CONTENT_TYPE = re.compile(rb"application/grpc(\+proto)?[ \t]*(;.*)?", re.IGNORECASE)

Headers = tuple[tuple[bytes, bytes], ...]


class CallError(Exception):
    """A call that ends with a status other than OK."""

    def __init__(self, status: int, message: str, *more: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.more = more

    @property
    def headers(self) -> Headers:
        """The status as headers or trailers; the message in percent escapes, as the protocol requires."""
        text = quote(self.message, safe=" !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~")
        return ((b"grpc-status", b"%d" % self.status), (b"grpc-message", text.encode("ascii")), *self.more)


def is_grpc(content_type: bytes) -> bool:
    """Return whether a request of this type is a gRPC call with protobuf messages."""
    return content_type == b"application/grpc" or _CONTENT_TYPE.fullmatch(content_type) is not None


def header(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes:
    """Return the first value of the header `name`, in lower case; empty when there is none."""
    for key, value in headers:
        if key == name:
            return value
    return b""


def seconds_left(timeout: bytes) -> float | None:
    """Return the value of `grpc-timeout` in seconds; `None`, for no limit, when there is no readable one."""
    match = _TIMEOUT.fullmatch(timeout)
    return int(match[1]) * _UNITS[match[2]] if match else None


def frame(message: bytes) -> bytes:
    """Return one uncompressed message with its prefix."""
    return b"\0" + len(message).to_bytes(4, "big") + message


def check_prefix(data: bytes | bytearray, encoding: bytes, largest: int) -> None:
    """Refuse data that cannot begin an acceptable message, however little of it has arrived.

    Raises `CallError`. `encoding` is the value of `grpc-encoding`.
    """
    if data[:1] == b"\1":
        if encoding in {b"", b"identity"}:
            raise CallError(INTERNAL, "the message is marked as compressed, but no encoding is named")
        # Only an attacker compresses a Check, to make this server unpack a bomb.
        raise CallError(UNIMPLEMENTED, "no message encoding is supported", (b"grpc-accept-encoding", b"identity"))
    if data and data[0] != 0:
        raise CallError(INTERNAL, "the message does not begin with a gRPC prefix")
    if len(data) >= PREFIX and int.from_bytes(data[1:PREFIX], "big") > largest:
        raise CallError(RESOURCE_EXHAUSTED, f"the message is larger than {largest} bytes")


def message_in(data: bytes | bytearray) -> bytes:
    """Return the one message of a whole request body, whose prefix was checked. Raises `CallError`."""
    if len(data) < PREFIX or int.from_bytes(data[1:PREFIX], "big") != len(data) - PREFIX:
        raise CallError(INTERNAL, "the request is not exactly one whole message")
    return bytes(data[PREFIX:])
