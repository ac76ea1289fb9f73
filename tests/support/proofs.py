"""DPoP proofs for tests (RFC 9449): right unless told otherwise."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any

import jwt

from tests.support.assertions import key

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey


def proof(
    method: str,
    url: str,
    *,
    by: SigningKey | None = None,
    token: str | None = None,
    headers: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A proof for one request; with `token`, for that one. A claim or header given as `None` is left out."""
    signer = by or key(name="dpop")
    payload = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_urlsafe(16)}
    if token is not None:
        payload["ath"] = hashed(token)
    present = {name: value for name, value in {**payload, **claims}.items() if value is not None}
    said = {"typ": "dpop+jwt", "jwk": public(signer), **(headers or {})}
    shown = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(present, signer.private_key, signer.algorithm, headers=shown)


def public(signer: SigningKey) -> dict[str, Any]:
    """The key as a proof carries it: its numbers and nothing else."""
    return {
        name: value for name, value in signer.public_jwk().items() if name in {"kty", "crv", "x", "y", "n", "e"}
    }


def thumbprint(signer: SigningKey) -> str:
    """RFC 7638, by hand."""
    members = ",".join(f'"{name}":"{value}"' for name, value in sorted(public(signer).items()))
    return hashed(f"{{{members}}}")


def hashed(text: str) -> str:
    """SHA-256 in base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
