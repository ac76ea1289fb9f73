"""The compact form of a JWS (RFC 7515 section 7.1), parsed as strictly as possible and no slower than needed.

PyJWT's parser handles each character in Python, and parses the whole token again for each question. That took half
of the cost of a new token. PyJWT still does the cryptography; tests compare its results with these.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from oauth_core.crypto import base64url

if TYPE_CHECKING:
    from jwt import PyJWK

# Three parts in base64url without padding. Any other form of a valid token is refused, so that one token is one
# string, for caches and for log searches.
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

# Extensions that change the signed data or must be understood (RFC 7515 section 4.1.11, RFC 7797). None is used.
_EXTENSIONS = frozenset({"crit", "b64"})


class Header(NamedTuple):
    """The type, algorithm and key in a header: any value, or `None`."""

    type: object
    algorithm: object
    key: object


class BadSignatureError(Exception):
    """The token was not signed with that key."""


def header_of(token: str) -> Header | None:
    """Return the header of `token`, unverified; `None` when it is not a token in the expected form."""
    return _header(token.partition(".")[0]) if _FORM.match(token) else None


def payload_of(token: str, key: PyJWK) -> dict[str, Any] | None:
    """Return the claims of a `token` with a known header, signed with `key`; `None` if they are no JSON object.

    Raises `BadSignatureError`.
    """
    signed, _, last = token.rpartition(".")
    signature, payload = base64url.decode(last), base64url.decode(signed.partition(".")[2])
    if signature is None or payload is None:
        return None
    if not key.Algorithm.verify(signed.encode("ascii"), key.key, signature):
        raise BadSignatureError
    return _object(payload)


@lru_cache(maxsize=64)
def _header(segment: str) -> Header | None:
    """Cached, because all tokens of a key have the same header."""
    data = base64url.decode(segment)
    header = None if data is None else _object(data)
    if header is None or header.keys() & _EXTENSIONS:
        return None
    return Header(header.get("typ"), header.get("alg"), header.get("kid"))


def _object(data: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
