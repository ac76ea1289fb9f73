"""`private_key_jwt`: a client authenticates with a JWT that it signed (RFC 7523 sections 2.2 and 3).

Reading and checking are separate: an unchecked assertion only selects the keys with which it is then checked.
After the check, the caller must ask the store whether the assertion was used before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oauth_core.jose import external_jwts
from oauth_core.jose.external_jwts import JwtFault
from oauth_core.refusals import OAuthFault, OAuthReason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from oauth_core.jose.client_keys import ClientKeys

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The only `client_assertion_type` that is accepted."""

_TYPES = frozenset({"jwt", "client-authentication+jwt"})


class AssertionFault(OAuthFault):
    """Why a client assertion was refused."""

    MALFORMED = OAuthReason.CLIENT_ASSERTION_MALFORMED
    WRONG_TYPE = OAuthReason.CLIENT_ASSERTION_WRONG_TYPE
    WRONG_ALGORITHM = OAuthReason.CLIENT_ASSERTION_WRONG_ALGORITHM
    UNKNOWN_KEY = OAuthReason.CLIENT_ASSERTION_UNKNOWN_KEY
    BAD_SIGNATURE = OAuthReason.CLIENT_ASSERTION_BAD_SIGNATURE
    WRONG_CLIENT = OAuthReason.CLIENT_ASSERTION_WRONG_CLIENT
    WRONG_AUDIENCE = OAuthReason.CLIENT_ASSERTION_WRONG_AUDIENCE
    NO_ID = OAuthReason.CLIENT_ASSERTION_NO_ID
    BAD_TIMES = OAuthReason.CLIENT_ASSERTION_BAD_TIMES
    EXPIRED = OAuthReason.CLIENT_ASSERTION_EXPIRED
    NOT_YET_VALID = OAuthReason.CLIENT_ASSERTION_NOT_YET_VALID
    USED_BEFORE = OAuthReason.CLIENT_ASSERTION_USED_BEFORE


@dataclass(frozen=True)
class UnverifiedAssertion:
    """Claims of an assertion before any check. None of them is proven."""

    client_id: str
    kid: str | None
    algorithm: str


@dataclass(frozen=True)
class VerifiedAssertion:
    """A genuine assertion of the client. `jti` may be used once, and need not be remembered after `until`."""

    jti: str
    until: int


def parse_unverified(assertion: str) -> UnverifiedAssertion | AssertionFault:
    """Read an assertion before its check, to find the key that verifies it."""
    found = external_jwts.parse_jwt(assertion, _TYPES, untyped="jwt")
    if isinstance(found, JwtFault):
        return AssertionFault[found.name]
    subject = found.claims.get("sub")
    if not external_jwts.is_name(subject):
        return AssertionFault.MALFORMED
    return UnverifiedAssertion(str(subject), found.kid, found.algorithm)


def check(
    assertion: str, keys: ClientKeys, *, client_id: str, audiences: Collection[str], now: int
) -> VerifiedAssertion | AssertionFault:
    """Check that `client_id` signed `assertion` for one of `audiences` and that it is valid at second `now`."""
    unchecked = external_jwts.parse_jwt(assertion, _TYPES, untyped="jwt")
    claims = (
        unchecked if isinstance(unchecked, JwtFault) else external_jwts.verified_claims(assertion, unchecked, keys)
    )
    if isinstance(claims, JwtFault):
        return AssertionFault[claims.name]
    return _check_claims(claims, client_id=client_id, audiences=audiences, now=now)


def _check_claims(
    claims: Mapping[str, Any], *, client_id: str, audiences: Collection[str], now: int
) -> VerifiedAssertion | AssertionFault:
    """Check the claims by RFC 7523 section 3, and more strictly: `jti` is required, and `exp` is bounded."""
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        return AssertionFault.WRONG_CLIENT
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    # Another server could replay here an assertion that is valid there too.
    if not named or not all(isinstance(name, str) and name in audiences for name in named):
        return AssertionFault.WRONG_AUDIENCE
    until = external_jwts.check_id_and_times(claims, now=now)
    return (
        AssertionFault[until.name] if isinstance(until, JwtFault) else VerifiedAssertion(str(claims["jti"]), until)
    )
