"""Signed texts of clients and identity providers: client assertions, identity assertions, and DPoP proofs.

Each is valid, except for the changes of the test.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import time
from functools import cache
from typing import Any

import jwt

from oauth_core.clients.client_assertions import TYPE
from oauth_core.grant_types import JWT_BEARER
from oauth_core.jose.signing_keys import Algorithm, SigningKey, generate_key


@cache
def key(algorithm: Algorithm = "ES256", name: str = "own") -> SigningKey:
    """A client's key, generated once for each `name`."""
    return generate_key(algorithm, now=1)


def jwks(*keys: SigningKey) -> dict[str, Any]:
    """The key set that a client publishes."""
    return {"keys": [one.public_jwk() for one in keys]}


def signed(
    client_id: str,
    audience: str | list[str],
    *,
    by: SigningKey | None = None,
    headers: dict[str, Any] | None = None,
    now: int | None = None,
    **claims: Any,
) -> str:
    """A client assertion; a claim given as `None` is left out."""
    signer = by or key()
    at = int(time.time()) if now is None else now
    payload = {
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": at,
        "exp": at + 300,
        "jti": secrets.token_urlsafe(16),
        **claims,
    }
    present = {name: value for name, value in payload.items() if value is not None}
    return jwt.encode(present, signer.private_key, signer.algorithm, headers=headers or {"kid": signer.kid})


def as_form(assertion: str) -> dict[str, str]:
    """The form parameters of a client assertion."""
    return {"client_assertion_type": TYPE, "client_assertion": assertion}


PROVIDER = "https://idp.example/"
"""The issuer of identity assertions. It ends in a slash, like some real ones."""

KEY_NAME = "identity provider"
"""The name of the `key` of the identity provider."""
SUBJECT = "U019488227"


def asserted(
    client_id: str,
    audience: str | list[str],
    *,
    by: SigningKey | None = None,
    headers: dict[str, Any] | None = None,
    now: int | None = None,
    **claims: Any,
) -> str:
    """An ID-JAG; a claim given as `None` is left out, and so is a header."""
    signer = by or key(name=KEY_NAME)
    at = int(time.time()) if now is None else now
    payload = {
        "iss": PROVIDER,
        "sub": SUBJECT,
        "aud": audience,
        "client_id": client_id,
        "iat": at,
        "exp": at + 300,
        "jti": secrets.token_urlsafe(16),
        "scope": "mcp.time",
        **claims,
    }
    present = {name: value for name, value in payload.items() if value is not None}
    heading = {"typ": "oauth-id-jag+jwt", "kid": signer.kid, **(headers or {})}
    # Not `jwt.encode`, which validates the claims: a faulty provider does not.
    payload_bytes = json.dumps(present).encode()
    return jwt.api_jws.encode(payload_bytes, signer.private_key, signer.algorithm, headers=heading)


def as_grant(assertion: str) -> dict[str, str]:
    """The form parameters of an identity assertion."""
    return {"grant_type": JWT_BEARER, "assertion": assertion}


def proof(
    method: str,
    url: str,
    *,
    by: SigningKey | None = None,
    token: str | None = None,
    headers: dict[str, Any] | None = None,
    **claims: Any,
) -> str:
    """A DPoP proof (RFC 9449) for one request, and for `token` if given. A claim that is `None` is left out."""
    signer = by or key(name="dpop")
    payload = {"htm": method, "htu": url, "iat": int(time.time()), "jti": secrets.token_urlsafe(16)}
    if token is not None:
        payload["ath"] = hashed(token)
    present = {name: value for name, value in {**payload, **claims}.items() if value is not None}
    said = {"typ": "dpop+jwt", "jwk": public(signer), **(headers or {})}
    shown = {name: value for name, value in said.items() if value is not None}
    return jwt.encode(present, signer.private_key, signer.algorithm, headers=shown)


def public(signer: SigningKey) -> dict[str, Any]:
    """The public key in the form of a proof: its numbers only."""
    return {
        name: value for name, value in signer.public_jwk().items() if name in {"kty", "crv", "x", "y", "n", "e"}
    }


def thumbprint(signer: SigningKey) -> str:
    """The thumbprint by RFC 7638, implemented here."""
    members = ",".join(f'"{name}":"{value}"' for name, value in sorted(public(signer).items()))
    return hashed(f"{{{members}}}")


def hashed(text: str) -> str:
    """SHA-256 in base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
