"""`private_key_jwt`: a client proves who it is with a JWT that it signed (RFC 7523 sections 2.2 and 3).

Reading and checking are apart: what an unchecked assertion says only chooses the keys it is then checked with.
Whether it was used before is the caller's to ask, once it has been checked.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from oauth_core.jose import external_jwts
from oauth_core.jose.external_jwts import JwtFault
from oauth_core.refusals import OAuthReason

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from oauth_core.jose.client_keys import ClientKeys

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The only `client_assertion_type` there is here."""

_TYPES = frozenset({"jwt", "client-authentication+jwt"})


class AssertionFault(Enum):
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

    @property
    def reason(self) -> OAuthReason:
        """Its row of the table of refusals."""
        return self.value


@dataclass(frozen=True)
class Unchecked:
    """What an assertion says of itself. Nobody has proved any of it."""

    client_id: str
    kid: str | None
    algorithm: str


@dataclass(frozen=True)
class Proven:
    """The assertion is the client's. `jti` may be used once, and need not be remembered after `until`."""

    jti: str
    until: int


def read(assertion: str) -> Unchecked | AssertionFault:
    """Look into an assertion before there is a key to check it with."""
    found = external_jwts.read(assertion, _TYPES, untyped="jwt")
    if isinstance(found, JwtFault):
        return AssertionFault[found.name]
    subject = found.claims.get("sub")
    if not external_jwts.is_name(subject):
        return AssertionFault.MALFORMED
    return Unchecked(str(subject), found.kid, found.algorithm)


def check(
    assertion: str, keys: ClientKeys, *, client_id: str, audiences: Collection[str], now: int
) -> Proven | AssertionFault:
    """Check that `client_id` signed this `assertion` for one of `audiences` and that it is in its time."""
    unchecked = external_jwts.read(assertion, _TYPES, untyped="jwt")
    claims = (
        unchecked if isinstance(unchecked, JwtFault) else external_jwts.proven_claims(assertion, unchecked, keys)
    )
    if isinstance(claims, JwtFault):
        return AssertionFault[claims.name]
    return _check_claims(claims, client_id=client_id, audiences=audiences, now=now)


def _check_claims(
    claims: Mapping[str, Any], *, client_id: str, audiences: Collection[str], now: int
) -> Proven | AssertionFault:
    """RFC 7523 section 3, stricter where the RFC leaves room: `jti` is required, and `exp` is bounded."""
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        return AssertionFault.WRONG_CLIENT
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    # An assertion that is good elsewhere too could be taken from there and used here.
    if not named or not all(isinstance(name, str) and name in audiences for name in named):
        return AssertionFault.WRONG_AUDIENCE
    until = external_jwts.check_id_and_times(claims, now=now)
    return AssertionFault[until.name] if isinstance(until, JwtFault) else Proven(str(claims["jti"]), until)
