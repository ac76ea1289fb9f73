"""Access tokens for tests: valid ones, and ones with exactly one fault."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

from oauth_core.jose.signing_keys import SigningKey, generate_key
from oauth_core.model import AccessClaims
from oauth_core.tokens import access_tokens

ISSUER = "http://localhost:8080"
TIME = f"{ISSUER}/time/mcp"
NOTES = f"{ISSUER}/notes/mcp"


def new_key() -> SigningKey:
    """A fresh ES256 key."""
    return generate_key("ES256", now=int(time.time()))


def claims(**changes: Any) -> AccessClaims:
    """The claims of a token for the service `time`, valid for ten minutes, except for `changes`."""
    now = int(time.time())
    good = AccessClaims(
        iss=ISSUER,
        sub="583231",
        aud=(TIME,),
        exp=now + 600,
        iat=now,
        jti="jti-1",
        client_id="client-1",
        scope="mcp.time",
        github_user="octocat",
        github_id=583231,
    )
    return dataclasses.replace(good, **changes)


def mint(key: SigningKey, **changes: Any) -> str:
    """A signed token with `claims(**changes)`."""
    return access_tokens.mint(claims(**changes), key)
