"""DPoP proofs (RFC 9449): with each request a client proves that it has the key that its token is bound to.

A proof is a JWT that contains its own key. It is valid for one request: for its method, its URL, about its second,
and at a service for one access token. It proves possession of the key, not an identity. After the check the caller
of this module must check that the `jti` was not used before.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oauth_core.crypto.digests import jwk_thumbprint, sha256_base64url
from oauth_core.jose import client_keys, external_jwts
from oauth_core.jose.external_jwts import JwtFault
from oauth_core.net.public_urls import DEFAULT_PORTS
from oauth_core.refusals import OAuthFault, OAuthReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.jose.client_keys import ClientKeys

HEADER = "DPoP"
SCHEME = "DPoP"
"""The scheme in the header `Authorization`, and the `token_type` of a token that is bound to a key."""

LIFE = 60
"""Seconds for which a proof is valid after it was made, plus the allowed clock difference."""

_TYPES = frozenset({"dpop+jwt"})
_LONGEST = 8192
# Members of a JWK that do not change which key it is (RFC 7638 section 3.2).
_NOT_THE_KEY = frozenset({"kid", "use", "key_ops", "alg"})


class ProofFault(OAuthFault):
    """Why a DPoP proof was refused."""

    MALFORMED = OAuthReason.PROOF_MALFORMED
    WRONG_TYPE = OAuthReason.PROOF_WRONG_TYPE
    WRONG_ALGORITHM = OAuthReason.PROOF_WRONG_ALGORITHM
    UNKNOWN_KEY = OAuthReason.PROOF_UNKNOWN_KEY
    BAD_SIGNATURE = OAuthReason.PROOF_BAD_SIGNATURE
    WRONG_METHOD = OAuthReason.PROOF_WRONG_METHOD
    WRONG_PLACE = OAuthReason.PROOF_WRONG_PLACE
    NO_ID = OAuthReason.PROOF_NO_ID
    BAD_TIMES = OAuthReason.PROOF_BAD_TIMES
    WRONG_TOKEN = OAuthReason.PROOF_WRONG_TOKEN


@dataclass(frozen=True)
class Proof:
    """A valid proof. `key` is the thumbprint (RFC 7638) of its key; `jti` may be forgotten after `until`."""

    key: str
    jti: str
    until: int


def check(text: str, *, method: str, url: str, now: int, access_token: str | None = None) -> Proof | ProofFault:
    """Check a proof for a request with `method` to `url` at second `now` (section 4.3).

    With an `access_token` the proof must be for that token.
    """
    if len(text) > _LONGEST:
        return ProofFault.MALFORMED
    unchecked = external_jwts.parse_jwt(text, _TYPES)
    if isinstance(unchecked, JwtFault):
        return ProofFault[unchecked.name]
    found = _key(_text_of(unchecked.key))
    if found is None:
        return ProofFault.UNKNOWN_KEY
    keys, thumbprint = found
    # There is only this one key, whatever name the header gives it.
    claims = external_jwts.verified_claims(text, dataclasses.replace(unchecked, kid=None), keys)
    if isinstance(claims, JwtFault):
        return ProofFault[claims.name]
    fault = _fault_of_request(claims, method, url, access_token)
    if fault is not None:
        return fault
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= external_jwts.LONGEST_ID:
        return ProofFault.NO_ID
    made: Any = claims.get("iat")
    # `bool` is an `int` to Python, but no time; the comparison excludes NaN.
    if type(made) not in {int, float} or not -LIFE - external_jwts.SKEW <= made - now <= external_jwts.SKEW:
        return ProofFault.BAD_TIMES
    return Proof(thumbprint, jti, int(made) + LIFE + external_jwts.SKEW + 1)


def _fault_of_request(
    claims: Mapping[str, Any], method: str, url: str, access_token: str | None
) -> ProofFault | None:
    if claims.get("htm") != method:
        return ProofFault.WRONG_METHOD
    place = claims.get("htu")
    if (
        not isinstance(place, str)
        or _compared_parts(place) is None
        or _compared_parts(place) != _compared_parts(url)
    ):
        return ProofFault.WRONG_PLACE
    # Without it a proof that was seen in transit could be used with another stolen token (section 7).
    if access_token is not None and claims.get("ath") != sha256_base64url(access_token.encode("ascii", "replace")):
        return ProofFault.WRONG_TOKEN
    return None


def _compared_parts(url: str) -> tuple[str, str, str] | None:
    """Return the parts of a URL that must match: all but query and fragment, in one form."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc or not url.isascii():
        return None
    return parts.scheme, f"{parts.hostname}:{port}", parts.path or "/"


def _text_of(jwk: object) -> str | None:
    """Return a JWK as a canonical text without its descriptive members; `None` for a value that is no JWK."""
    if not isinstance(jwk, dict):
        return None
    return json.dumps({name: value for name, value in jwk.items() if name not in _NOT_THE_KEY}, sort_keys=True)


@lru_cache(maxsize=1024)
def _key(text: str | None) -> tuple[ClientKeys, str] | None:
    """Return the key of a JWK, and its thumbprint; `None` for one that is not public or not supported."""
    try:
        keys = client_keys.parse({"keys": [json.loads(text or "null")]})
    except (ValueError, RecursionError):
        return None
    (key,) = keys.keys
    return keys, jwk_thumbprint(key.members)
