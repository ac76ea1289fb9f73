"""`private_key_jwt`: a client proves who it is with a JWT that it signed (RFC 7523 sections 2.2 and 3).

Reading and checking are apart: what an unchecked assertion says only chooses the keys it is then checked with.
Whether it was used before is the caller's to ask, once it has been checked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import jwt
from jwt.exceptions import InvalidSignatureError, PyJWTError

from oauth_core.client_keys import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Collection

    from jwt.types import Options

    from oauth_core.client_keys import ClientKeys

TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
"""The only `client_assertion_type` there is here."""

SKEW = 30
"""Seconds that a client's clock may be off."""

LONGEST_LIFE = 3600
"""Seconds ahead that `exp` may lie: this long each used `jti` is remembered."""

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
_TYPES = frozenset({"jwt", "client-authentication+jwt"})
_LONGEST_ID = 256
_END_OF_TIME = 2**53

# PyJWT would look at its own clock; the claims are checked below.
_NO_CLAIM_CHECKS: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class AssertionFault(StrEnum):
    """Why an assertion was refused: for the audit log, and for the client's developer."""

    MALFORMED = "the client assertion is not a JWT that names its client"
    WRONG_TYPE = "the client assertion has a typ or crit that is not understood"
    WRONG_ALGORITHM = "the client assertion is signed with an algorithm that is not accepted"
    UNKNOWN_KEY = "the client assertion is signed with a key that is not the client's, or names none of several"
    BAD_SIGNATURE = "the signature of the client assertion is wrong"
    WRONG_CLIENT = "iss and sub of the client assertion must both be the client_id"
    WRONG_AUDIENCE = "aud of the client assertion must be the issuer or its token endpoint, and nothing else"
    NO_ID = "the client assertion needs a jti of at most 256 characters"
    BAD_TIMES = "the client assertion needs exp, at most an hour ahead; times must be seconds since the epoch"
    EXPIRED = "the client assertion has expired"
    NOT_YET_VALID = "the client assertion is not valid yet"
    USED_BEFORE = "the client assertion was used before"


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
    if not _FORM.match(assertion):
        return AssertionFault.MALFORMED
    try:
        unchecked = jwt.decode_complete(assertion, options={"verify_signature": False, **_NO_CLAIM_CHECKS})
    except (PyJWTError, ValueError, RecursionError):
        return AssertionFault.MALFORMED
    header, subject = unchecked["header"], unchecked["payload"].get("sub")
    if not isinstance(subject, str) or not subject or "\x00" in subject or not subject.isprintable():
        return AssertionFault.MALFORMED
    kind = header.get("typ", "jwt")
    # RFC 7515 section 4.1.11: an extension that must be understood and is not makes the whole invalid.
    if not isinstance(kind, str) or kind.lower() not in _TYPES or "crit" in header or "b64" in header:
        return AssertionFault.WRONG_TYPE
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        return AssertionFault.WRONG_ALGORITHM
    if kid is not None and not isinstance(kid, str):
        return AssertionFault.UNKNOWN_KEY
    return Unchecked(subject, kid, algorithm)


def check(
    assertion: str, keys: ClientKeys, *, client_id: str, audiences: Collection[str], now: int
) -> Proven | AssertionFault:
    """Check that `client_id` signed this `assertion` for one of `audiences` and that it is in its time."""
    unchecked = read(assertion)
    if isinstance(unchecked, AssertionFault):
        return unchecked
    key = keys.find(unchecked.kid, unchecked.algorithm)
    if key is None:
        return AssertionFault.UNKNOWN_KEY
    try:
        # The key is bound to the algorithm, and both to our list: the header alone decides nothing.
        public_key = key.for_algorithm(unchecked.algorithm)
        claims = jwt.decode(assertion, public_key, algorithms=[unchecked.algorithm], options=_NO_CLAIM_CHECKS)
    except InvalidSignatureError:
        return AssertionFault.BAD_SIGNATURE
    except (PyJWTError, ValueError):
        return AssertionFault.MALFORMED
    return _check_claims(claims, client_id=client_id, audiences=audiences, now=now)


def _check_claims(
    claims: dict[str, Any], *, client_id: str, audiences: Collection[str], now: int
) -> Proven | AssertionFault:
    """RFC 7523 section 3, stricter where the RFC leaves room: `jti` is required, and `exp` is bounded."""
    if claims.get("iss") != client_id or claims.get("sub") != client_id:
        return AssertionFault.WRONG_CLIENT
    audience = claims.get("aud")
    named = audience if isinstance(audience, list) else [audience]
    # An assertion that is good elsewhere too could be taken from there and used here.
    if not named or not all(isinstance(name, str) and name in audiences for name in named):
        return AssertionFault.WRONG_AUDIENCE
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= _LONGEST_ID:
        return AssertionFault.NO_ID
    return _check_times(claims, jti, now)


def _check_times(claims: dict[str, Any], jti: str, now: int) -> Proven | AssertionFault:
    # A NumericDate may have a fraction (RFC 7519 section 2); `bool` is an `int` to Python, but no time. The range
    # keeps out NaN, and integers too large to reckon with.
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    if "exp" not in times or not all(map(_is_time, times.values())):
        return AssertionFault.BAD_TIMES
    exp = times["exp"]
    if not exp <= now + LONGEST_LIFE + SKEW:
        return AssertionFault.BAD_TIMES
    if now >= exp + SKEW:
        return AssertionFault.EXPIRED
    # One that was made long ago and is still good for long would live longer than it may.
    if "iat" in times and exp - times["iat"] > LONGEST_LIFE + SKEW:
        return AssertionFault.BAD_TIMES
    if any(times[name] > now + SKEW for name in ("iat", "nbf") if name in times):
        return AssertionFault.NOT_YET_VALID
    return Proven(jti, int(exp) + SKEW + 1)


def _is_time(value: object) -> bool:
    return type(value) in {int, float} and 0 <= cast("float", value) < _END_OF_TIME
