"""Base64url without padding (RFC 4648 section 5, RFC 7515 section 2): the spelling of bytes in JOSE and OAuth.

Standard base64, with its own alphabet and with padding, is read and written with the standard library where a
protocol asks for it.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode


def encode(data: bytes) -> str:
    """The one spelling of `data`."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def decode(text: str) -> bytes | None:
    """The bytes of which `text` is the one spelling; `None` for any other text.

    Padding, characters of another alphabet and unused bits that are not zero would give one value several
    spellings, so that two texts that differ would pass as the same signature.
    """
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return data if urlsafe_b64encode(data).rstrip(b"=") == text.encode("ascii") else None
    except (binascii.Error, ValueError):
        return None


def decode_leniently(text: str) -> bytes:
    """The bytes in a text that is not compared with others. Raises `ValueError`.

    Characters of another alphabet are passed over, as most readers of JWKs do.
    """
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
