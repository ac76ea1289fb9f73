"""A client's public keys: the JWK set it registered or published, for checking its assertions (RFC 7517).

The author of the set is unknown. Keys of unsupported kinds are ignored, and so are weak and broken ones. A set
with a secret key is refused, because any party may have a private key that was published.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jwt import PyJWTError

from oauth_core.crypto import base64url
from oauth_core.jose.signing_keys import general_name, public_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jwt import PyJWK

ALGORITHMS = ("ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519")
"""The algorithms of clients: never `none`, and no symmetric one."""

_CURVES = {("EC", "P-256"): "ES256", ("EC", "P-384"): "ES384", ("OKP", "Ed25519"): "EdDSA"}
_PUBLIC_MEMBERS = {"EC": ("crv", "x", "y"), "OKP": ("crv", "x"), "RSA": ("n", "e")}
_SECRET_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})
_RSA_BITS = range(2048, 8193)
_MOST_EXPONENT_BITS = 32
"""The limit for the public exponent of an RSA key. The time of a signature check grows with it: 65537 has 17 bits,
and an attacker with an exponent of 8,192 bits would make each check cost milliseconds.
"""
_MOST_KEYS = 20
_LONGEST_KEY_ID = 256


@dataclass(frozen=True)
class ClientKey:
    """One public key: its name in the set, if it has one, and the algorithms it may be used with."""

    kid: str | None
    algorithms: tuple[str, ...]
    members: Mapping[str, str]

    def for_algorithm(self, algorithm: str) -> PyJWK:
        """Return the key, bound to `algorithm`. Raises `ValueError` when its numbers are not a key."""
        try:
            return public_key(self.members, algorithm)
        except (PyJWTError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"not a usable key: {type(error).__name__}") from None


@dataclass(frozen=True)
class ClientKeys:
    """The usable keys of a set, at least one."""

    keys: tuple[ClientKey, ...]

    def find(self, kid: str | None, algorithm: str) -> ClientKey | None:
        """Return the key of an assertion. Without a `kid` exactly one key must fit: keys are not tried out."""
        wanted = general_name(algorithm)
        fitting = [
            key for key in self.keys if wanted in map(general_name, key.algorithms) and kid in {None, key.kid}
        ]
        return fitting[0] if len(fitting) == 1 else None

    def has(self, kid: str | None) -> bool:
        """Return whether a key has this name; if not, the set may have changed since it was read."""
        return any(key.kid == kid for key in self.keys)

    def document(self) -> dict[str, object]:
        """Return the set with the members that are used here."""
        return {"keys": [_public_members(key) for key in self.keys]}


def parse(document: object) -> ClientKeys:
    """Return the keys of a JWK set (RFC 7517 section 5) already parsed from JSON.

    A key that is weak, broken or not unique is left out. Raises `ValueError`, in words for the client's developer,
    if no key is usable or if a key is secret.
    """
    members = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        raise ValueError("a JWK set is an object with an array of objects named keys")
    if len(members) > _MOST_KEYS:
        raise ValueError(f"a JWK set may have at most {_MOST_KEYS} keys")
    if any(_SECRET_MEMBERS & member.keys() or member.get("kty") == "oct" for member in members):
        raise ValueError("the JWK set has a secret key in it; publish public keys only, and replace that one")
    faults: list[str] = []
    keys: list[ClientKey] = []
    for member in members:
        try:
            if (key := _usable(member)) is not None:
                keys.append(key)
        except ValueError as error:
            faults.append(str(error))
    named = Counter(name for key in keys for name in _names(key))
    unique = tuple(key for key in keys if all(named[name] == 1 for name in _names(key)))
    if len(unique) < len(keys):
        faults.append("the JWK set has two keys of one kind with the same kid, or without any")
    if not unique:
        raise ValueError((*faults, f"the JWK set has no signing key for any of: {', '.join(ALGORITHMS)}")[0])
    return ClientKeys(unique)


def _names(key: ClientKey) -> tuple[tuple[str | None, str], ...]:
    """Return the names by which an assertion can select this key."""
    return tuple((key.kid, name) for name in dict.fromkeys(map(general_name, key.algorithms)))


def from_text(text: str) -> ClientKeys:
    """Return the keys of a set that this gateway stored. Raises `ValueError`."""
    return parse(json.loads(text))


def _usable(member: Mapping[str, object]) -> ClientKey | None:
    """Return the key, or `None` for one that is not used here. Raises `ValueError` for one that is broken."""
    algorithms = _algorithms(member)
    operations = member.get("key_ops")
    meant_for_this = member.get("use") in (None, "sig") and (
        operations is None or (isinstance(operations, list) and "verify" in operations)
    )
    if not algorithms or not meant_for_this:
        return None
    kind = str(member["kty"])
    kid = member.get("kid")
    if kid is not None and (not isinstance(kid, str) or not 0 < len(kid) <= _LONGEST_KEY_ID):
        raise ValueError(f"the kid of a key is a string of at most {_LONGEST_KEY_ID} characters")
    numbers = {name: member.get(name) for name in _PUBLIC_MEMBERS[kind]}
    texts = {name: value for name, value in numbers.items() if isinstance(value, str)}
    if len(texts) != len(numbers):
        raise ValueError("the JWK set has a key that lacks a member")
    key = ClientKey(kid, algorithms, {"kty": kind, **texts})
    if kind == "RSA" and _bits(texts["n"]) not in _RSA_BITS:
        raise ValueError(f"an RSA key must have {_RSA_BITS.start} to {_RSA_BITS.stop - 1} bits")
    if kind == "RSA" and _bits(texts["e"]) > _MOST_EXPONENT_BITS:
        raise ValueError(f"the exponent of an RSA key may have at most {_MOST_EXPONENT_BITS} bits")
    key.for_algorithm(algorithms[0])
    return key


def _algorithms(member: Mapping[str, object]) -> tuple[str, ...]:
    """Return the algorithms of the key's kind, limited to the one that its owner names."""
    kind, curve, stated = member.get("kty"), member.get("crv"), member.get("alg")
    if kind == "RSA":
        possible: tuple[str, ...] = ("RS256", "PS256")
    elif isinstance(kind, str) and isinstance(curve, str) and (kind, curve) in _CURVES:
        possible = (_CURVES[kind, curve],)
    else:
        possible = ()
    if stated is None:
        return possible
    # The name that its owner uses, so that the answer to a registration repeats the request.
    return (stated,) if isinstance(stated, str) and general_name(stated) in possible else ()


def _bits(number: str) -> int:
    try:
        octets = base64url.decode_leniently(number)
    except ValueError:
        raise ValueError("the JWK set has a number that is not base64url") from None
    return int.from_bytes(octets, "big").bit_length()


def _public_members(key: ClientKey) -> dict[str, object]:
    members: dict[str, object] = {**key.members, "use": "sig"}
    if key.kid is not None:
        members["kid"] = key.kid
    if len(key.algorithms) == 1:
        members["alg"] = key.algorithms[0]
    return members
