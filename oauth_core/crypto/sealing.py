"""Authenticated encryption of values that must be read back: AES-256-GCM (NIST SP 800-38D), and its derived keys.

The context is bound as associated data, so that an encrypted value does not open at another place.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from oauth_core.crypto.credentials import new_nonce

if TYPE_CHECKING:
    from typing import Final

_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12


class UnsealError(Exception):
    """The value was not encrypted with this key for this context, or was changed since."""


def seal(plain: bytes, key: bytes, *, context: str) -> bytes:
    """Encrypt `plain` under a 256-bit `key`. The result is nonce, ciphertext and tag."""
    nonce = new_nonce()
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(sealed: bytes, key: bytes, *, context: str) -> bytes:
    """Decrypt the result of `seal`. Raises `UnsealError`."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise UnsealError(context) from None


def derive_key(secret: str | bytes, *, purpose: str) -> bytes:
    """Return a 256-bit key for one purpose from a secret of full strength: HKDF-SHA256 (RFC 5869)."""
    material = secret.encode() if isinstance(secret, str) else secret
    return HKDF(hashes.SHA256(), _KEY_BYTES, salt=None, info=purpose.encode()).derive(material)


def read_key(text: str) -> bytes:
    """Parse a 256-bit key in base64, of either alphabet. Raises `ValueError` that explains how to make one."""
    try:
        key = base64.b64decode(text, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise ValueError("must be 32 random bytes in base64; make one with: openssl rand -base64 32")
    return key
