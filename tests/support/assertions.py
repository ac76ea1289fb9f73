"""Client assertions for tests, right unless told otherwise, and the key sets to check them with."""

from __future__ import annotations

import secrets
import time
from functools import cache
from typing import Any

import jwt

from oauth_core.clients.client_assertions import TYPE
from oauth_core.jose.signing_keys import Algorithm, SigningKey, generate_key


@cache
def key(algorithm: Algorithm = "ES256", name: str = "own") -> SigningKey:
    """A client's key, made once for each `name`."""
    return generate_key(algorithm, now=1)


def jwks(*keys: SigningKey) -> dict[str, Any]:
    """The set a client publishes."""
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
    """An assertion; a claim given as `None` is left out."""
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
    """The parameters that carry it."""
    return {"client_assertion_type": TYPE, "client_assertion": assertion}
