"""The access token: the only module that defines its format (RFC 9068), and makes and checks it.

`verify` checks the token alone. `oauth_core.policy.decision` checks its audience, and Redis has its status. A new
claim is a field of `model.AccessClaims`, its value in `flows.token_requests`, and its name and its check here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jwt

from oauth_core.jose import cnf, compact_jws, dpop
from oauth_core.model import AccessClaims
from oauth_core.refusals import DenyFault, DenyReason

if TYPE_CHECKING:
    from jwt import PyJWK

    from oauth_core.jose.signing_keys import SigningKey, VerifyingKeys

TYPE = "at+jwt"
LONGEST = 8192
"""Characters. Our tokens have about a tenth of this; a longer one is not worth a signature check."""

_SKEW = 5
"""Seconds that the clock of an issuing machine may be ahead."""


class TokenFault(DenyFault):
    """Why a token was rejected, for the audit log. Callers only get `invalid_token`."""

    MALFORMED = DenyReason.MALFORMED_TOKEN
    WRONG_TYPE = DenyReason.WRONG_TYPE
    UNKNOWN_KEY = DenyReason.UNKNOWN_KEY
    WRONG_ALGORITHM = DenyReason.WRONG_ALGORITHM
    BAD_SIGNATURE = DenyReason.BAD_SIGNATURE
    BAD_CLAIMS = DenyReason.BAD_CLAIMS
    WRONG_ISSUER = DenyReason.WRONG_ISSUER
    EXPIRED = DenyReason.EXPIRED
    NOT_YET_VALID = DenyReason.NOT_YET_VALID


@dataclass(frozen=True, slots=True)
class Verified:
    """The token is genuine and within its time."""

    claims: AccessClaims


@dataclass(frozen=True, slots=True)
class Rejected:
    """The token is not valid."""

    fault: TokenFault


def mint(claims: AccessClaims, key: SigningKey) -> str:
    """Sign `claims` with `key`."""
    return jwt.encode(
        claims_payload(claims), key.private_key, key.algorithm, headers={"typ": TYPE, "kid": key.kid}
    )


def claims_payload(claims: AccessClaims) -> dict[str, Any]:
    """Return `claims` by their names in a token. A single audience is a string, several are an array."""
    payload: dict[str, Any] = {
        "iss": claims.iss,
        "sub": claims.sub,
        "aud": claims.aud[0] if len(claims.aud) == 1 else list(claims.aud),
        "exp": claims.exp,
        "iat": claims.iat,
        "jti": claims.jti,
        "client_id": claims.client_id,
        "scope": claims.scope,
    }
    if claims.github_user is not None:
        payload |= {"github_user": claims.github_user, "github_id": claims.github_id}
    if claims.groups:
        payload["groups"] = list(claims.groups)
    return payload | cnf.cnf_claim(claims.certificate, claims.dpop_key)


def type_of(claims: AccessClaims) -> str:
    """Return the `token_type`: how the client sends the token (RFC 6750, RFC 9449 section 5)."""
    return "Bearer" if claims.dpop_key is None else dpop.SCHEME


def verify(token: str, keys: VerifyingKeys, *, issuer: str, now: int) -> Verified | Rejected:
    """Check type, key, algorithm, signature, issuer and times of `token` at second `now`.

    Cheap checks come first, so that garbage does not cost a signature.
    """
    key = key_for(token, keys)
    if isinstance(key, Rejected):
        return key
    try:
        payload = compact_jws.payload_of(token, key)
    except compact_jws.BadSignatureError:
        return Rejected(TokenFault.BAD_SIGNATURE)
    if payload is None:
        return Rejected(TokenFault.MALFORMED)
    claims = _claims(payload)
    if claims is None:
        return Rejected(TokenFault.BAD_CLAIMS)
    if claims.iss != issuer:
        return Rejected(TokenFault.WRONG_ISSUER)
    fault = fault_of_time(claims, now)
    return Verified(claims) if fault is None else Rejected(fault)


def key_for(token: str, keys: VerifyingKeys) -> PyJWK | Rejected:
    """Return the key for the signature check of `token`, or a fault that is visible without a check."""
    header = None if len(token) > LONGEST else compact_jws.header_of(token)
    if header is None:
        return Rejected(TokenFault.MALFORMED)
    if header.type != TYPE:
        return Rejected(TokenFault.WRONG_TYPE)
    key = keys.get(header.key) if isinstance(header.key, str) else None
    if key is None:
        return Rejected(TokenFault.UNKNOWN_KEY)
    if header.algorithm != key.algorithm_name:
        return Rejected(TokenFault.WRONG_ALGORITHM)
    return key


def fault_of_time(claims: AccessClaims, now: int) -> TokenFault | None:
    """Return the fault of genuine `claims` at second `now`: the one part of `verify` whose result changes."""
    if now >= claims.exp:
        return TokenFault.EXPIRED
    if claims.iat > now + _SKEW:
        return TokenFault.NOT_YET_VALID
    return None


def _claims(payload: dict[str, Any]) -> AccessClaims | None:
    """Return the claims, if all are present with the right type. `bool` is an `int` to Python, but not here."""
    aud = payload.get("aud")
    audience = (aud,) if isinstance(aud, str) else tuple(aud) if isinstance(aud, list) else ()
    texts = [payload.get(name) for name in ("iss", "sub", "jti", "client_id", "scope")]
    numbers = [payload.get(name) for name in ("exp", "iat")]
    if not audience or not all(isinstance(item, str) for item in (*audience, *texts)):
        return None
    if not all(type(number) is int for number in numbers):
        return None
    if not _is_person(payload) and not _is_machine(payload):
        return None
    groups = payload.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(group, str) for group in groups):
        return None
    try:
        binding = cnf.parse_cnf(payload.get("cnf"))
    except ValueError:
        return None
    return AccessClaims(
        iss=payload["iss"],
        sub=payload["sub"],
        aud=audience,
        exp=payload["exp"],
        iat=payload["iat"],
        jti=payload["jti"],
        client_id=payload["client_id"],
        scope=payload["scope"],
        github_user=payload.get("github_user"),
        github_id=payload.get("github_id"),
        groups=tuple(groups),
        certificate=binding.certificate,
        dpop_key=binding.dpop_key,
    )


def _is_person(payload: dict[str, Any]) -> bool:
    """Return whether the token is for a person who signed in."""
    return isinstance(payload.get("github_user"), str) and type(payload.get("github_id")) is int


def _is_machine(payload: dict[str, Any]) -> bool:
    """Return whether the token is for a machine client: it has none of the claims about a person."""
    of_people = {"github_user", "github_id", "groups"}
    return payload.keys().isdisjoint(of_people) and payload["sub"] == payload["client_id"]
