"""External JWTs: parsed before the key is known, checked with a key, and checked against the clock.

The content of an unchecked JWT only selects the key for its check. The modules for each kind of JWT check its
claims.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

import jwt
from jwt.exceptions import InvalidSignatureError, PyJWTError

from oauth_core.display_text import has_something_to_see, is_displayable
from oauth_core.jose.client_keys import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jwt.types import Options

    from oauth_core.jose.client_keys import ClientKeys

SKEW = 30
"""Seconds by which another party's clock may differ."""

LONGEST_LIFE = 3600
"""Seconds ahead that `exp` may lie: each used `jti` is recorded for this long."""

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z")
LONGEST_ID = 256
"""Characters of a `jti`."""
_END_OF_TIME = 2**53

# PyJWT would use its own clock; the module for each kind of JWT checks the claims.
_NO_CLAIM_CHECKS: Options = {
    "verify_exp": False,
    "verify_nbf": False,
    "verify_iat": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}


class JwtFault(StrEnum):
    """The fault of a JWT of any kind."""

    MALFORMED = "malformed"
    WRONG_TYPE = "wrong type"
    WRONG_ALGORITHM = "wrong algorithm"
    UNKNOWN_KEY = "unknown key"
    BAD_SIGNATURE = "bad signature"
    NO_ID = "no id"
    BAD_TIMES = "bad times"
    EXPIRED = "expired"
    NOT_YET_VALID = "not yet valid"


@dataclass(frozen=True)
class UnverifiedJwt:
    """A JWT of an expected kind. Its `claims` are not proved. `key` is the key inside, if any."""

    claims: Mapping[str, Any]
    kid: str | None
    algorithm: str
    key: object = None


def parse_jwt(token: str, types: frozenset[str], *, untyped: str | None = None) -> UnverifiedJwt | JwtFault:
    """Parse a JWT whose `typ` is one of `types`; one without a `typ` counts as `untyped`."""
    if not _FORM.match(token):
        return JwtFault.MALFORMED
    try:
        unchecked = jwt.decode_complete(token, options={"verify_signature": False, **_NO_CLAIM_CHECKS})
    except (PyJWTError, ValueError, RecursionError):
        return JwtFault.MALFORMED
    header = unchecked["header"]
    kind = header.get("typ", untyped)
    # RFC 7515 section 4.1.11: an extension that must be understood and is not makes the JWT invalid.
    if not isinstance(kind, str) or kind.lower() not in types or "crit" in header or "b64" in header:
        return JwtFault.WRONG_TYPE
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        return JwtFault.WRONG_ALGORITHM
    if kid is not None and not isinstance(kid, str):
        return JwtFault.UNKNOWN_KEY
    return UnverifiedJwt(unchecked["payload"], kid, algorithm, header.get("jwk"))


def verified_claims(token: str, unchecked: UnverifiedJwt, keys: ClientKeys) -> dict[str, Any] | JwtFault:
    """Return the claims of `token`, if one of `keys` signed them."""
    key = keys.find(unchecked.kid, unchecked.algorithm)
    if key is None:
        return JwtFault.UNKNOWN_KEY
    try:
        # The key is bound to the algorithm, and both to our list: the header alone decides nothing.
        public_key = key.for_algorithm(unchecked.algorithm)
        claims: dict[str, Any] = jwt.decode(
            token, public_key, algorithms=[unchecked.algorithm], options=_NO_CLAIM_CHECKS
        )
    except InvalidSignatureError:
        return JwtFault.BAD_SIGNATURE
    except (PyJWTError, ValueError):
        return JwtFault.MALFORMED
    return claims


def is_name(value: object) -> bool:
    """Return whether `value` can be a subject or an issuer: text that people can read in a log."""
    return isinstance(value, str) and is_displayable(value) and has_something_to_see(value)


def check_id_and_times(claims: Mapping[str, Any], *, now: int) -> int | JwtFault:
    """Return the second until which the `jti` must be recorded, if there is one and `now` is within the times."""
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= LONGEST_ID:
        return JwtFault.NO_ID
    # A NumericDate may have a fraction (RFC 7519 section 2); `bool` is an `int` to Python, but no time. The range
    # excludes NaN, and integers that are too large for arithmetic.
    times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
    if "exp" not in times or not all(map(_is_time, times.values())):
        return JwtFault.BAD_TIMES
    exp = times["exp"]
    if not exp <= now + LONGEST_LIFE + SKEW:
        return JwtFault.BAD_TIMES
    if now >= exp + SKEW:
        return JwtFault.EXPIRED
    # A JWT that was made long ago and is valid for long would exceed the longest lifetime.
    if "iat" in times and exp - times["iat"] > LONGEST_LIFE + SKEW:
        return JwtFault.BAD_TIMES
    if any(times[name] > now + SKEW for name in ("iat", "nbf") if name in times):
        return JwtFault.NOT_YET_VALID
    return int(exp) + SKEW + 1


def _is_time(value: object) -> bool:
    return type(value) in {int, float} and 0 <= cast("float", value) < _END_OF_TIME
