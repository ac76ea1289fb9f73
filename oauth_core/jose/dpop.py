"""DPoP proofs (RFC 9449): with each request a client shows that it has the key that its token is bound to.

A proof is a JWT with its own key inside, good for one request: its method, its address, about its second, and at a
service for one access token. It says who holds the key, not who that is. Whether its `jti` came before is the
caller's to ask, once it has been checked.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oauth_core.crypto.digests import jwk_thumbprint, sha256_base64url
from oauth_core.jose import client_keys, external_jwts
from oauth_core.jose.external_jwts import JwtFault
from oauth_core.net.public_urls import DEFAULT_PORTS
from oauth_core.refusals import OAuthReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oauth_core.jose.client_keys import ClientKeys

HEADER = "DPoP"
SCHEME = "DPoP"
"""Of the header `Authorization`, and the `token_type` of a token that is bound to a key."""

LIFE = 60
"""Seconds after it was made that a proof counts, besides what clocks may be off."""

_TYPES = frozenset({"dpop+jwt"})
_LONGEST = 8192
# What may be in a JWK besides its numbers and does not change which key it is (RFC 7638 section 3.2).
_NOT_THE_KEY = frozenset({"kid", "use", "key_ops", "alg"})


class ProofFault(Enum):
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

    @property
    def reason(self) -> OAuthReason:
        """Its row of the table of refusals."""
        return self.value


@dataclass(frozen=True)
class Proof:
    """A good proof. `key` is the thumbprint (RFC 7638) of who made it; `jti` may be forgotten after `until`."""

    key: str
    jti: str
    until: int


def check(text: str, *, method: str, url: str, now: int, access_token: str | None = None) -> Proof | ProofFault:
    """Check a proof for a request with `method` to `url` at second `now` (section 4.3).

    With an `access_token` it must be for that very one.
    """
    if len(text) > _LONGEST:
        return ProofFault.MALFORMED
    unchecked = external_jwts.read(text, _TYPES)
    if isinstance(unchecked, JwtFault):
        return ProofFault[unchecked.name]
    found = _key(_text_of(unchecked.key))
    if found is None:
        return ProofFault.UNKNOWN_KEY
    keys, thumbprint = found
    # There is only this one key, whatever the header calls it.
    claims = external_jwts.proven_claims(text, dataclasses.replace(unchecked, kid=None), keys)
    if isinstance(claims, JwtFault):
        return ProofFault[claims.name]
    fault = _fault_of_request(claims, method, url, access_token)
    if fault is not None:
        return fault
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 0 < len(jti) <= external_jwts.LONGEST_ID:
        return ProofFault.NO_ID
    made: Any = claims.get("iat")
    # `bool` is an `int` to Python, but no time; the comparison keeps NaN out.
    if type(made) not in {int, float} or not -LIFE - external_jwts.SKEW <= made - now <= external_jwts.SKEW:
        return ProofFault.BAD_TIMES
    return Proof(thumbprint, jti, int(made) + LIFE + external_jwts.SKEW + 1)


def _fault_of_request(
    claims: Mapping[str, Any], method: str, url: str, access_token: str | None
) -> ProofFault | None:
    if claims.get("htm") != method:
        return ProofFault.WRONG_METHOD
    place = claims.get("htu")
    if not isinstance(place, str) or _place(place) is None or _place(place) != _place(url):
        return ProofFault.WRONG_PLACE
    # Without it a proof that was seen on the way could be used with another stolen token (section 7).
    if access_token is not None and claims.get("ath") != sha256_base64url(access_token.encode("ascii", "replace")):
        return ProofFault.WRONG_TOKEN
    return None


def _place(url: str) -> tuple[str, str, str] | None:
    """What of a URL must agree: all but query and fragment, however scheme, host and default port are spelled."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError:
        return None
    if not parts.hostname or "@" in parts.netloc or not url.isascii():
        return None
    return parts.scheme, f"{parts.hostname}:{port}", parts.path or "/"


def _text_of(jwk: object) -> str | None:
    """A JWK as a text that names it, without what its owner says of it; `None` for what cannot be one."""
    if not isinstance(jwk, dict):
        return None
    return json.dumps({name: value for name, value in jwk.items() if name not in _NOT_THE_KEY}, sort_keys=True)


@lru_cache(maxsize=1024)
def _key(text: str | None) -> tuple[ClientKeys, str] | None:
    """The key that a JWK is, and its thumbprint; `None` for one that is not public or not used here."""
    try:
        keys = client_keys.parse({"keys": [json.loads(text or "null")]})
    except (ValueError, RecursionError):
        return None
    (key,) = keys.keys
    return keys, jwk_thumbprint(key.members)
