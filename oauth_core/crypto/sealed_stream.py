"""Authenticated encryption of long data in pieces: no piece can be changed, moved, left out or cut off.

Each stream has its own key (HKDF over a new salt), so the number of a piece can be its nonce. The last piece is
marked in its nonce: a stream that ends without one was truncated, and no piece can follow it (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizár). The header is bound to every piece as associated data.
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from oauth_core.crypto.sealing import UnsealError, derive_key

OVERHEAD = 16
"""Bytes by which an encrypted piece is longer than its content."""

_COUNTER_BYTES = 11


class StreamCipher:
    """Encrypts or decrypts the pieces of one stream, in order.

    Use a new object for each stream, and in one direction only.
    """

    def __init__(self, key: bytes, *, salt: bytes, header: bytes) -> None:
        """`key` has full strength; `salt` is new for each stream and is part of its header."""
        secret = base64.b64encode(key + salt).decode("ascii")
        self._cipher = AESGCM(derive_key(secret, purpose="portcullis sealed stream"))
        self._header = header
        self._count = 0
        self._ended = False

    def seal(self, piece: bytes, *, last: bool) -> bytes:
        """Return the next piece, encrypted."""
        return self._cipher.encrypt(self._nonce(last=last), piece, self._header)

    def open(self, sealed: bytes, *, last: bool) -> bytes:
        """Return the content of the next piece. Raises `UnsealError` if it is not that piece of that stream."""
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
