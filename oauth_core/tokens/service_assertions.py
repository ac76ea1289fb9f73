"""Service assertions: the caller's identity in a form that a service can verify without trust in the network.

They are JWTs (RFC 7519). The check service signs one for each token and service, with a key that signs nothing
else. It is valid for two minutes and is replaced after one. It is no access token: type, key, audience and JWK set
differ. So neither can be mistaken for the other, and one service cannot use its assertion at another.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

import jwt

from oauth_core.jose.signing_keys import SigningKey, jwk_set_of_pem

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims, Service

TYPE = "service-assertion+jwt"
LIFETIME = 120
"""Seconds after which a service should no longer accept an assertion."""

RENEWED_AFTER = 60
"""Seconds for which an assertion is sent again. After the last time it is valid for as many, or until the token
expires.
"""

PATH = "/.well-known/service-assertion-jwks.json"
"""The path of the public keys, below the issuer."""

_SLOW = frozenset({"RS256"})
_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----\s*", re.DOTALL)


class SignedAssertion(NamedTuple):
    """An assertion, and the second from which a new one is sent instead."""

    text: str
    until: int


class AssertionSigner:
    """Signs assertions for services, in the name of `issuer`."""

    def __init__(self, key: SigningKey, *, issuer: str) -> None:
        self._key = key
        self._issuer = issuer

    @classmethod
    def from_pem(cls, pem: bytes, *, issuer: str) -> AssertionSigner:
        """Return a signer with the private key in `pem`: P-256, P-384 or Ed25519.

        Raises `ValueError` when it is no such key; the message does not repeat it.
        """
        try:
            key = SigningKey.from_pem(pem, None, 0)
        except ValueError:
            raise ValueError("the assertion key must be a private key in PEM: P-256, P-384 or Ed25519") from None
        if key.algorithm in _SLOW:
            raise ValueError("the assertion key is RSA, which signs too slowly: take P-256, P-384 or Ed25519")
        return cls(key, issuer=issuer)

    def sign(self, claims: AccessClaims, service: Service, now: int) -> SignedAssertion:
        """Sign an assertion for `service` about the caller of `claims` at second `now`.

        It never outlives the token.
        """
        payload = _payload(claims, service) | {
            "iss": self._issuer,
            "iat": now,
            "exp": min(now + LIFETIME, claims.exp),
        }
        headers = {"typ": TYPE, "kid": self._key.kid}
        text = jwt.encode(payload, self._key.private_key, self._key.algorithm, headers=headers)
        return SignedAssertion(text, min(now + RENEWED_AFTER, claims.exp))


def audience(service: str) -> str:
    """Return the audience of assertions for the service of this name: no token's resource has this form."""
    return f"service:{service}"


def published(pems: bytes) -> str:
    """Return the JWK set (RFC 7517 section 5) of the public keys in `pems`, one PEM block after the other.

    Raises `ValueError` for any other content, above all a private key.
    """
    blocks = [match[0] for match in _BLOCK.finditer(pems)]
    if not blocks or b"".join(blocks).strip() != pems.strip():
        raise ValueError("must hold public keys in PEM (BEGIN PUBLIC KEY) and nothing else")
    return jwk_set_of_pem(blocks)


def _payload(claims: AccessClaims, service: Service) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "sub": claims.sub,
        "aud": audience(service.name),
        "client_id": claims.client_id,
        "scope": claims.scope,
    }
    if claims.github_user is not None:
        payload["preferred_username"] = claims.github_user
    if claims.groups:
        payload["groups"] = list(claims.groups)
    return payload
