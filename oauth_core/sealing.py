"""Authenticated encryption of what must be read back: AES-256-GCM (NIST SP 800-38D), and keys derived for it.

The context is bound in as associated data, so that a sealed value moved to another place does not open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from oauth_core.credentials import new_nonce

if TYPE_CHECKING:
    from typing import Final

_NONCE_BYTES: Final = 12


class UnsealError(Exception):
    """The value was not sealed with this key for this context, or was changed since."""


def seal(plain: bytes, key: bytes, *, context: str) -> bytes:
    """Encrypt `plain` under a 256-bit `key`. The result is nonce, ciphertext and tag."""
    nonce = new_nonce()
    return nonce + AESGCM(key).encrypt(nonce, plain, context.encode())


def unseal(sealed: bytes, key: bytes, *, context: str) -> bytes:
    """What `seal` was given. Raises `UnsealError`."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
    except (InvalidTag, ValueError):
        raise UnsealError(context) from None


def derive_key(secret: str, *, purpose: str) -> bytes:
    """A 256-bit key for one purpose from a secret of full strength: HKDF-SHA256 (RFC 5869)."""
    return HKDF(hashes.SHA256(), 32, salt=None, info=purpose.encode()).derive(secret.encode())
