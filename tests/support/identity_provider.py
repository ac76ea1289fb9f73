"""An identity provider for tests: it vouches for people, rightly unless told otherwise."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import jwt

from oauth_core.grant_types import JWT_BEARER
from tests.support.assertions import key

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey

ISSUER = "https://idp.example/"
"""With a slash at its end, as some real ones have it."""

KEY_NAME = "identity provider"
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
        "iss": ISSUER,
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
    # Not `jwt.encode`, which looks at the claims: a provider with a fault does not.
    payload_bytes = json.dumps(present).encode()
    return jwt.api_jws.encode(payload_bytes, signer.private_key, signer.algorithm, headers=heading)


def as_grant(assertion: str) -> dict[str, str]:
    """The parameters that present it."""
    return {"grant_type": JWT_BEARER, "assertion": assertion}
