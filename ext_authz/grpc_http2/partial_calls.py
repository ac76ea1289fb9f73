"""A call whose message has begun to arrive and is not complete."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ext_authz.grpc_http2.grpc_frames import INTERNAL, PREFIX, CallError, check_prefix
from ext_authz.grpc_http2.limits import LARGEST_MESSAGE

if TYPE_CHECKING:
    from ext_authz.grpc_http2.header_blocks import Call


class Pieces:
    """The part of a call's body that has arrived."""

    __slots__ = ("call", "data")

    def __init__(self, call: Call) -> None:
        self.call = call
        self.data = bytearray()

    def add(self, data: bytes) -> None:
        """Add the next bytes. Raises `CallError` as soon as a valid message is impossible."""
        self.data += data
        if self.call.is_grpc:
            check_prefix(self.data, self.call.encoding, LARGEST_MESSAGE)
        if len(self.data) > LARGEST_MESSAGE + PREFIX:
            raise CallError(INTERNAL, "the request is longer than its message")
