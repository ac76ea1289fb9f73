"""Authenticated encryption of something long, piece by piece: no piece can be changed, moved, left out or cut off.

Each stream has a key of its own (HKDF over a fresh salt), so the number of a piece can be its nonce. The last
piece is marked in its nonce: a stream that ends without one was cut off, and nothing can follow it (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár). The header is bound to every piece as associated data.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from oauth_core.crypto.sealing import UnsealError, derive_key

OVERHEAD = 16
"""Bytes that a sealed piece is longer than what it holds."""

_COUNTER_BYTES = 11


class StreamCipher:
    """Seals or opens the pieces of one stream, in order. One object does one of the two, once."""

    def __init__(self, key: bytes, *, salt: bytes, header: bytes) -> None:
        """`key` is of full strength; `salt` is fresh for each stream and stands in its header."""
        secret = base64.b64encode(key + salt).decode("ascii")
        self._cipher = AESGCM(derive_key(secret, purpose="portcullis sealed stream"))
        self._header = header
        self._count = 0
        self._ended = False

    def seal(self, piece: bytes, *, last: bool) -> bytes:
        """The next piece, sealed."""
        return self._cipher.encrypt(self._nonce(last=last), piece, self._header)

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        """What the next piece holds. Raises `UnsealError` if it is not that piece of that stream."""
        try:
            return self._cipher.decrypt(self._nonce(last=last), sealed, self._header)
        except (InvalidTag, ValueError):
            raise UnsealError(f"piece {self._count}") from None

    def _nonce(self, *, last: bool) -> bytes:
        if self._ended:
            raise UnsealError("nothing follows the last piece")
        self._ended = last
        self._count += 1
        return self._count.to_bytes(_COUNTER_BYTES) + bytes([last])
