"""Random values, their stored form, and their comparison. The only module that makes random values.

Every secret has at least 256 bits from `secrets`, so a plain SHA-256 is a safe stored form. There is nothing to
guess, and a slow hash would only delay honest callers (NIST SP 800-63B section 5.1.1.2 requires stretching for
values that people choose, not for keys).
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
    """Return a new bearer secret: 256 bits, URL-safe, 43 characters."""
    return secrets.token_urlsafe(_SECRET_BYTES)


def new_identifier() -> str:
    """Return a new public identifier (client, grant, token): 128 bits, URL-safe, 22 characters."""
    return secrets.token_urlsafe(_IDENTIFIER_BYTES)


def new_word(alphabet: str, length: int) -> str:
    """Return a new short code for people to type, each letter equally likely. Its checker must count attempts."""
    return "".join(secrets.choice(alphabet) for _ in range(length))


def new_key() -> bytes:
    """Return a new 256-bit key for AES-256-GCM."""
    return secrets.token_bytes(_SECRET_BYTES)


def new_nonce() -> bytes:
    """Return a new 96-bit nonce for AES-GCM (NIST SP 800-38D section 8.2.2)."""
    return secrets.token_bytes(12)


def is_identifier(text: str) -> bool:
    """Return whether `text` has the form of `new_identifier`; other texts are not worth a lookup."""
    return _IDENTIFIER.match(text) is not None


def hash_secret(secret: str) -> str:
    """Return the stored form of a secret: SHA-256, URL-safe base64 without padding, 43 characters."""
    return sha256_base64url(secret.encode("utf-8", "surrogatepass"))


def secret_matches(secret: str, stored_hash: str) -> bool:
    """Return whether `secret` is the stored one, in time that does not depend on where they differ."""
    return hmac.compare_digest(hash_secret(secret), stored_hash)


def pkce_challenge(verifier: str) -> str:
    """Return the S256 code challenge of `verifier` (RFC 7636 section 4.2)."""
    return hash_secret(verifier)


def pkce_matches(verifier: str, challenge: str) -> bool:
    """Return whether `challenge` was made from `verifier` (RFC 7636 section 4.6)."""
    return hmac.compare_digest(pkce_challenge(verifier), challenge)
