"""Base64url without padding (RFC 4648 section 5, RFC 7515 section 2): the form of bytes in JOSE and OAuth.

Code that needs standard base64, with its own alphabet and with padding, uses the standard library.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(data: bytes) -> str:
    """Return the one form of `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes | None:
    """Return the bytes whose one form is `text`; `None` for any other text.

    Padding, characters of another alphabet and unused bits that are not zero would give one value several forms,
    so that two different texts would pass as the same signature.
    """
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return data if urlsafe_b64encode(data).rstrip(b"=") == text.encode("ascii") else None
    except (binascii.Error, ValueError):
        return None


def decode_leniently(text: str) -> bytes:
    """Return the bytes in a text that is not compared with others. Raises `ValueError`.

    Characters of another alphabet are ignored, as most parsers of JWKs do.
    """
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
