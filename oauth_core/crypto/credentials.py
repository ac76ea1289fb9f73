"""Random values, how they are stored, and how they are compared. The only module that makes randomness.

Every secret handed out is at least 256 bits from `secrets`, so a plain SHA-256 is a safe way to keep it: there
is nothing to guess, and a slow hash would only slow the honest caller (NIST SP 800-63B section 5.1.1.2 asks for
stretching of what people choose, not of keys).
"""

from __future__ import annotations

import hmac
import re
import secrets

from oauth_core.crypto.digests import sha256_base64url

_SECRET_BYTES = 32
_IDENTIFIER_BYTES = 16
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{22}\Z")


def new_secret() -> str:
    """A fresh bearer secret: 256 bits, URL-safe, 43 characters."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def new_identifier() -> str:
    """A fresh public identifier (client, grant, token): 128 bits, URL-safe, 22 characters."""
    return secrets.token_urlsafe(_IDENTIFIER_BYTES)


def new_word(alphabet: str, length: int) -> str:
    """A fresh short code for people to type, each letter equally likely. Whoever takes it must count attempts."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def new_key() -> bytes:
    """A fresh 256-bit key for AES-256-GCM."""
    return secrets.token_bytes(_SECRET_BYTES)


def new_nonce() -> bytes:
    """A fresh 96-bit nonce for AES-GCM (NIST SP 800-38D section 8.2.2)."""
    return secrets.token_bytes(12)


def is_identifier(text: str) -> bool:
    """Whether `text` could have come from `new_identifier`; what could not is not worth looking up."""
    return _IDENTIFIER.match(text) is not None


def hash_secret(secret: str) -> str:
    """How a secret is stored and looked up: SHA-256, URL-safe base64 without padding, 43 characters."""
    return sha256_base64url(secret.encode("utf-8", "surrogatepass"))


def secret_matches(secret: str, stored_hash: str) -> bool:
    """Whether `secret` is the one that was stored, in time that does not depend on where they differ."""
    return hmac.compare_digest(hash_secret(secret), stored_hash)


def pkce_challenge(verifier: str) -> str:
    """The S256 code challenge of `verifier` (RFC 7636 section 4.2)."""
    return hash_secret(verifier)


def pkce_matches(verifier: str, challenge: str) -> bool:
    """Whether `verifier` is the one `challenge` was made from (RFC 7636 section 4.6)."""
    return hmac.compare_digest(pkce_challenge(verifier), challenge)
