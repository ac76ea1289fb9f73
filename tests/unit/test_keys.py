"""Signing keys, and the public set for verification."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from hypothesis import example, given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from oauth_core.crypto.digests import jwk_thumbprint
from oauth_core.jose.signing_keys import (
    ALGORITHMS,
    Algorithm,
    SigningKey,
    VerifyingKeys,
    generate_key,
    public_jwks,
)

KEY = generate_key("ES256", now=5)
MEMBER: dict[str, Any] = KEY.public_jwk()
PUBLIC_MEMBERS = {"kty", "crv", "x", "y", "n", "e", "kid", "alg", "use"}


def jwks(*members: object) -> str:
    return json.dumps({"keys": members})


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    written: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return written


def test_every_algorithm_has_a_key_of_its_kind(signing_keys: dict[Algorithm, SigningKey]) -> None:
    def private(algorithm: Algorithm) -> Any:
        return signing_keys[algorithm].private_key

    assert set(signing_keys) == ALGORITHMS
    assert private("ES256").curve.name == "secp256r1"
    assert private("ES384").curve.name == "secp384r1"
    assert private("RS256").key_size == 4096
    assert private("RS256").public_key().public_numbers().e == 65537
    assert isinstance(private("EdDSA"), ed25519.Ed25519PrivateKey)


def test_the_thumbprint_equals_the_example_of_the_rfc() -> None:
    # RFC 7638 section 3.1.
    number = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3"
        "oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdA"
        "ZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur"
        "-kEgU8awapJzKnqDKgw"
    )
    assert (
        jwk_thumbprint({"e": "AQAB", "kty": "RSA", "n": number}) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
    )


def test_a_key_is_unchanged_after_writing_and_reading(signing_keys: dict[Algorithm, SigningKey]) -> None:
    for algorithm, key in signing_keys.items():
        again = SigningKey.from_pem(key.to_pem(), algorithm, key.created_at)
        assert again.kid == key.kid
        assert again.public_jwk() == key.public_jwk()
        assert again.created_at == 1


@pytest.mark.parametrize("algorithm", ["ES384", "RS256", "EdDSA", "HS256", "none", ""])
def test_a_key_is_refused_for_another_algorithm(algorithm: Any) -> None:
    with pytest.raises(ValueError, match="not for this algorithm"):
        SigningKey.from_pem(KEY.to_pem(), algorithm, 1)


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP521R1()), "ES256"),
        (ec.generate_private_key(ec.SECP256K1()), "ES256"),
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (dsa.generate_private_key(2048), "ES256"),
        (ed448.Ed448PrivateKey.generate(), "EdDSA"),
    ],
    ids=["P-521", "secp256k1", "RSA of 2048 bits", "DSA", "Ed448"],
)
def test_a_key_of_another_kind_is_refused(key: Any, algorithm: Algorithm) -> None:
    with pytest.raises(ValueError, match="not a key of a supported kind"):
        SigningKey.from_pem(pem(key), algorithm, 1)


@given(st.binary(max_size=200))
@example(pem(KEY.private_key, b"password"))
@example(KEY.to_pem()[:-40])
def test_text_that_is_no_key_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - some come from the library that reads keys
        SigningKey.from_pem(text, "ES256", 1)


def test_the_repr_of_a_key_contains_only_its_id_and_algorithm() -> None:
    number = str(KEY.private_key.private_numbers().private_value)  # type: ignore[union-attr]
    assert repr(KEY) == f"SigningKey(kid={KEY.kid!r}, algorithm='ES256')"
    assert number not in repr([KEY])


# -- the public set ----------------------------------------------------------------------------------------------


def test_the_published_set_has_public_halves_only(signing_keys: dict[Algorithm, SigningKey]) -> None:
    for member in json.loads(public_jwks(signing_keys.values()))["keys"]:
        assert set(member) <= PUBLIC_MEMBERS
        assert member["use"] == "sig"


def test_the_published_set_can_be_read(signing_keys: dict[Algorithm, SigningKey]) -> None:
    keys = VerifyingKeys.from_jwks(public_jwks(signing_keys.values()))
    assert len(keys) == 5
    for algorithm, key in signing_keys.items():
        found = keys.get(key.kid)
        assert found is not None
        assert found.algorithm_name == algorithm
    assert keys.get("another") is None
    assert VerifyingKeys.from_jwks(public_jwks(signing_keys.values()).encode()).get(KEY.kid) is None


def test_an_empty_set_contains_no_key() -> None:
    assert len(VerifyingKeys.from_jwks('{"keys": []}')) == 0


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '"keys"',
        '{"keys": null}',
        '{"keys": 5}',
        jwks(1),
        jwks("abc"),
        jwks(None),
        jwks([]),
        jwks({}),
        '{"keys": {"a": 1}}',
        jwks({"kty": "EC", "kid": "a", "alg": "ES256"}),
        jwks({**MEMBER, "kid": 5}),
        jwks({**MEMBER, "kid": ""}),
        jwks({**MEMBER, "kid": None}),
        jwks({name: value for name, value in MEMBER.items() if name != "kid"}),
        jwks({name: value for name, value in MEMBER.items() if name != "alg"}),
        jwks({**MEMBER, "alg": "ES384"}),
        jwks({**MEMBER, "alg": "RS256"}),
        jwks({**MEMBER, "alg": "HS256"}),
        jwks({**MEMBER, "alg": "none"}),
        jwks({**MEMBER, "alg": []}),
        jwks({**MEMBER, "crv": "P-384"}),
        jwks({**MEMBER, "crv": "secp256k1"}),
        jwks({**MEMBER, "x": 5}),
        jwks({**MEMBER, "x": "AAAA"}),
        jwks({**MEMBER, "y": MEMBER["x"]}),
        jwks({**MEMBER, "d": MEMBER["x"]}),
        jwks({"kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256"}),
        jwks({"kty": "oct", "k": "AAAA", "kid": "a", "alg": "ES256"}),
        jwks(MEMBER, MEMBER),
        jwks(MEMBER, {}),
        "[" * 100_000,
        b"\xff",
    ],
)
def test_a_set_with_any_unusable_member_is_refused_completely(document: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - some come from the library that reads JSON
        VerifyingKeys.from_jwks(document)


def test_a_set_with_a_private_half_is_refused(signing_keys: dict[Algorithm, SigningKey]) -> None:
    writers: dict[Algorithm, Any] = {
        "ES256": ECAlgorithm,
        "ES384": ECAlgorithm,
        "RS256": RSAAlgorithm,
        "EdDSA": OKPAlgorithm,
        "Ed25519": OKPAlgorithm,
    }
    for algorithm, key in signing_keys.items():
        private: dict[str, Any] = writers[algorithm].to_jwk(key.private_key, as_dict=True)
        with pytest.raises(ValueError, match="public keys only"):
            VerifyingKeys.from_jwks(jwks({**private, "kid": key.kid, "alg": algorithm}))


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["EC", "ES256", "P-256"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([*MEMBER, "d"]), inner)),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*MEMBER, "d", "n", "e", "k"]), JSON), st.booleans())
def test_any_changed_key_is_refused_or_the_same_kind_of_key(changes: dict[str, Any], replace: bool) -> None:
    member = changes if replace else {**MEMBER, **changes}
    try:
        keys = VerifyingKeys.from_jwks(jwks(member))
    except ValueError:
        return
    key = keys.get(member["kid"])
    assert key is not None
    assert (key.algorithm_name, key.key.curve.name) == ("ES256", "secp256r1")
