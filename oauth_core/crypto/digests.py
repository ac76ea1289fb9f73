"""Digests: the only module that calls `hashlib`.

SHA-256 (FIPS 180-4) is used wherever a protocol or the store needs a digest. BLAKE2b (RFC 7693) is used only in
memory, for the keys of caches.
"""

from __future__ import annotations

import hmac
import json
from hashlib import blake2b
from hashlib import sha256 as _sha256
from typing import TYPE_CHECKING

from oauth_core.crypto import base64url

if TYPE_CHECKING:
    from collections.abc import Mapping

_CACHE_KEY_BYTES = 20


def sha256(data: bytes) -> bytes:
    """Return the SHA-256 of `data`: 32 bytes."""
    return _sha256(data).digest()


class RunningSha256:
    """The SHA-256 of data that comes piece by piece."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = _sha256()

    def add(self, data: bytes) -> None:
        """Add a piece."""
        self._hash.update(data)

    def digest(self) -> bytes:
        """Return the SHA-256 of all pieces so far: 32 bytes."""
        return self._hash.digest()


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of `data` in hexadecimal: 64 characters."""
    return _sha256(data).hexdigest()


def sha256_base64url(data: bytes) -> str:
    """Return the SHA-256 of `data` in base64url without padding: 43 characters."""
    return base64url.encode(_sha256(data).digest())


def hmac_sha256(key: bytes, message: bytes) -> str:
    """Return the HMAC-SHA256 (RFC 2104) of `message` in base64url without padding: 43 characters."""
    return base64url.encode(hmac_sha256_bytes(key, message))


def hmac_sha256_bytes(key: bytes, message: bytes) -> bytes:
    """Return the HMAC-SHA256 (RFC 2104) of `message`: 32 bytes."""
    return hmac.digest(key, message, "sha256")


def jwk_thumbprint(members: Mapping[str, str]) -> str:
    """Return the thumbprint of a public JWK; `members` are only the required ones (RFC 7638 section 3)."""
    return sha256_base64url(json.dumps(dict(members), sort_keys=True, separators=(",", ":")).encode())


def cache_key(text: str) -> bytes:
    """Return the key of `text` in an in-memory cache: 20 bytes.

    A second text with the same key cannot be found, so a caller cannot use the entry of another text.
    """
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_CACHE_KEY_BYTES).digest()
