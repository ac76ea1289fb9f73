"""Keys that sign access tokens, and keys that verify them. The id of a public key is its thumbprint (RFC 7638).

`Ed25519` (RFC 9864) and `EdDSA` (RFC 8037) are two names of one algorithm here, since other curves are not
supported for it. A token has the name that its key has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK, PyJWTError, register_algorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from oauth_core.crypto.digests import jwk_thumbprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Algorithm = Literal["ES256", "ES384", "RS256", "EdDSA", "Ed25519"]
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

ALGORITHMS: frozenset[str] = frozenset(get_args(Algorithm))
_RSA_BITS = 4096
_THUMBPRINT_MEMBERS = frozenset({"crv", "e", "kty", "n", "x", "y"})

register_algorithm("Ed25519", OKPAlgorithm())  # PyJWT has only the older name


def general_name(algorithm: str) -> str:
    """Return `algorithm`, by the older name if it has two."""
    return "EdDSA" if algorithm == "Ed25519" else algorithm


def public_key(members: Mapping[str, object], algorithm: str) -> PyJWK:
    """Return the key of a JWK, for `algorithm` only. Raises the errors of `PyJWK`.

    Its `algorithm_name` is `algorithm`, also where PyJWT uses a more general name.
    """
    key = PyJWK(dict(members), algorithm=general_name(algorithm))
    key.algorithm_name = algorithm
    return key


@dataclass(frozen=True)
class SigningKey:
    """A private key, its algorithm and the time it was made. `repr` shows only its id."""

    kid: str
    algorithm: Algorithm
    private_key: PrivateKey
    created_at: int

    def __repr__(self) -> str:
        return f"SigningKey(kid={self.kid!r}, algorithm={self.algorithm!r})"

    def public_jwk(self) -> dict[str, str]:
        """Return the public half as a JWK (RFC 7517 section 4)."""
        return _public_jwk(self.private_key.public_key(), self.algorithm)

    def to_pem(self) -> bytes:
        """Return the private half, PKCS #8. The caller must encrypt it before it is stored or sent."""
        return self.private_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def public_pem(self) -> bytes:
        """Return the public half (SubjectPublicKeyInfo)."""
        return self.private_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    @classmethod
    def from_pem(cls, pem: bytes, algorithm: Algorithm | None, created_at: int) -> SigningKey:
        """Return the key that `to_pem` or `openssl genpkey` wrote; without `algorithm`, for the one it fits.

        Raises `ValueError` when it is not of a supported kind, or not for `algorithm`.
        """
        try:
            private_key = serialization.load_pem_private_key(pem, password=None)
        except (TypeError, UnsupportedAlgorithm) as error:
            raise ValueError(f"not a usable key: {error}") from None
        fitting = _algorithm_of(private_key)
        chosen = fitting if algorithm is None else algorithm
        if not isinstance(private_key, PrivateKey) or chosen is None or general_name(chosen) != fitting:
            raise ValueError("not a key of a supported kind, or not for this algorithm")
        return cls(jwk_thumbprint(_members(private_key.public_key())), chosen, private_key, created_at)


def generate_key(algorithm: Algorithm, *, now: int) -> SigningKey:
    """Return a new key: P-256, P-384, RSA of 4096 bits, or Ed25519."""
    private_key: PrivateKey
    match algorithm:
        case "ES256":
            private_key = ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            private_key = ec.generate_private_key(ec.SECP384R1())
        case "RS256":
            private_key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        case "EdDSA" | "Ed25519":
            private_key = ed25519.Ed25519PrivateKey.generate()
    return SigningKey(jwk_thumbprint(_members(private_key.public_key())), algorithm, private_key, now)


def public_jwks(keys: Iterable[SigningKey]) -> str:
    """Return the JWK set (RFC 7517 section 5) to publish for `keys`: public halves only."""
    return _jwk_set(key.public_jwk() for key in keys)


def jwk_set_of_pem(pems: Iterable[bytes]) -> str:
    """Return the JWK set of public keys that are each in PEM.

    Raises `ValueError` for one that is not of a supported kind.
    """
    return _jwk_set(map(_public_jwk_of_pem, pems))


class VerifyingKeys:
    """Public keys by id. The algorithm belongs to the key, so that a token cannot choose it."""

    def __init__(self, keys: Mapping[str, PyJWK]) -> None:
        self._keys = dict(keys)

    @classmethod
    def from_jwks(cls, document: str | bytes) -> VerifyingKeys:
        """Return the keys of a JWK set.

        Raises `ValueError` unless every key is usable and public, and has a unique name and a supported algorithm.
        """
        try:
            members = json.loads(document)["keys"]
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a usable JWK set: {type(error).__name__}") from None
        return cls.from_members(members)

    @classmethod
    def from_members(cls, members: object) -> VerifyingKeys:
        """Return the keys of the `keys` member of a JWK set. Raises `ValueError` as `from_jwks` does."""
        if not isinstance(members, list):
            raise ValueError("the keys of a JWK set are a list")  # noqa: TRY004 - a bad value, not a bad call
        try:
            found = [_verifying_key(member) for member in members]
        except (KeyError, TypeError, RecursionError, PyJWTError) as error:
            raise ValueError(f"not a usable JWK set: {type(error).__name__}") from None
        keys = dict(found)
        if len(keys) != len(found):
            raise ValueError("a JWK set of ours names no two keys alike")
        return cls(keys)

    def get(self, kid: str) -> PyJWK | None:
        """Return the key `kid`, if it is still in the ring."""
        return self._keys.get(kid)

    def __len__(self) -> int:
        return len(self._keys)


def _verifying_key(member: dict[str, object]) -> tuple[str, PyJWK]:
    """Return the `kid` and the key of one JWK. Raises `ValueError` if `alg` does not fit the type of the key."""
    if not isinstance(member, dict):
        raise ValueError("a JWK is an object")  # noqa: TRY004 - a bad value, not a bad call
    kid, algorithm = member.get("kid"), member.get("alg")
    if not isinstance(kid, str) or not kid or not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ValueError("a JWK set of ours has a kid and a supported alg in every key")
    if "d" in member:
        # A reader of the set only verifies, and must not hold a key that signs.
        raise ValueError("a JWK set of ours has public keys only")
    key = public_key(member, algorithm)
    if _algorithm_of(key.key) != general_name(algorithm):
        raise ValueError("a JWK set of ours has keys that fit their algorithms")
    return kid, key


def _algorithm_of(key: object) -> Algorithm | None:
    """Return the supported algorithm of `key`, private or public, by its older name; `None` if there is none."""
    match key:
        case ec.EllipticCurvePrivateKey() | ec.EllipticCurvePublicKey():
            return "ES256" if key.curve.name == "secp256r1" else "ES384" if key.curve.name == "secp384r1" else None
        case rsa.RSAPrivateKey() | rsa.RSAPublicKey():
            return "RS256" if key.key_size >= _RSA_BITS else None
        case ed25519.Ed25519PrivateKey() | ed25519.Ed25519PublicKey():
            return "EdDSA"
        case _:
            return None


def _jwk_set(members: Iterable[dict[str, str]]) -> str:
    return json.dumps({"keys": list(members)}, separators=(",", ":"))


def _public_jwk_of_pem(pem: bytes) -> dict[str, str]:
    try:
        public_key = serialization.load_pem_public_key(pem)
    except UnsupportedAlgorithm as error:
        raise ValueError(f"not a usable key: {error}") from None
    algorithm = _algorithm_of(public_key)
    if not isinstance(public_key, PublicKey) or algorithm is None:
        raise ValueError("not a key of a supported kind")
    return _public_jwk(public_key, algorithm)


def _public_jwk(public_key: PublicKey, algorithm: Algorithm) -> dict[str, str]:
    members = _members(public_key)
    return {**members, "kid": jwk_thumbprint(members), "alg": algorithm, "use": "sig"}


def _members(public_key: PublicKey) -> dict[str, str]:
    members: dict[str, str]
    if isinstance(public_key, ec.EllipticCurvePublicKey):
        members = ECAlgorithm.to_jwk(public_key, as_dict=True)
    elif isinstance(public_key, rsa.RSAPublicKey):
        members = RSAAlgorithm.to_jwk(public_key, as_dict=True)
    else:
        members = OKPAlgorithm.to_jwk(public_key, as_dict=True)
    return {name: value for name, value in members.items() if name in _THUMBPRINT_MEMBERS}
