"""The compact form of a JWS (RFC 7515 section 7.1), read as strictly as possible and no slower than needed.

PyJWT's own reader looks at every character in Python, and at the whole token again for each question. That took
half of what a token never seen costs. The cryptography stays PyJWT's; tests compare its answers and ours.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from oauth_core.crypto import base64url

if TYPE_CHECKING:
    from jwt import PyJWK

# Three parts in base64url without padding. Every other spelling of a good token is refused, so that one token is
# one string, to caches and to people who search logs.
_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")

# Extensions that change what is signed or must be understood (RFC 7515 section 4.1.11, RFC 7797). We use none.
_EXTENSIONS = frozenset({"crit", "b64"})


class Header(NamedTuple):
    """What a header says of type, algorithm and key: whatever stands there, or `None`."""

    type: object
    algorithm: object
    key: object


class BadSignatureError(Exception):
    """The token was not signed with that key."""


def header_of(token: str) -> Header | None:
    """What the header of `token` says, unverified; `None` when it is no token that we would read."""
    return _header(token.partition(".")[0]) if _FORM.match(token) else None


def payload_of(token: str, key: PyJWK) -> dict[str, Any] | None:
    """The claims of a `token` whose header was read, signed with `key`; `None` when they are no JSON object.

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
    """A key's tokens have one header in common, so reading it again and again would be for nothing."""
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
