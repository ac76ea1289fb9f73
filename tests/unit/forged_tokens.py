"""A valid access token and its key, and functions that make tokens with one fault."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import jwt

from oauth_core.jose.signing_keys import SigningKey, VerifyingKeys, generate_key, public_jwks
from oauth_core.model import AccessClaims
from oauth_core.tokens.access_tokens import Rejected, TokenFault, claims_payload, mint, verify
from tests.unit.examples import ISSUER, TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

NOW = 1_800_000_000
CLAIMS = AccessClaims(
    iss=ISSUER,
    sub="583231",
    aud=(TIME.resource,),
    exp=NOW + 600,
    iat=NOW,
    jti="jti-1",
    client_id="client-1",
    scope="mcp.time",
    github_user="octocat",
    github_id=583231,
)
PAYLOAD = claims_payload(CLAIMS)
KEY = generate_key("ES256", now=1)
KEYS = VerifyingKeys.from_jwks(public_jwks([KEY]))
TOKEN = mint(CLAIMS, KEY)
HEADER, BODY, SIGNATURE = TOKEN.split(".")


def fault(token: str, *, now: int = NOW, issuer: str = ISSUER, keys: VerifyingKeys = KEYS) -> TokenFault | None:
    """Why `token` is rejected; `None` if it is accepted."""
    outcome = verify(token, keys, issuer=issuer, now=now)
    return outcome.fault if isinstance(outcome, Rejected) else None


def segment(value: object) -> str:
    """`value` as a part of a token: bytes as they are, anything else as JSON."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(
    payload: Mapping[str, object] | None = None,
    *,
    header: Mapping[str, object] | None = None,
    key: SigningKey = KEY,
) -> str:
    """A token with a valid signature and this content."""
    header = {"typ": "at+jwt", "kid": key.kid, **(header or {})}
    body = json.dumps(PAYLOAD if payload is None else payload).encode()
    return jwt.api_jws.encode(body, key.private_key, key.algorithm, headers=header)
