"""Assertions that clients sign: which are accepted, and why others are refused."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from oauth_core.clients.client_assertions import (
    AssertionFault,
    UnverifiedAssertion,
    VerifiedAssertion,
    check,
    parse_unverified,
)
from oauth_core.jose import client_keys
from tests.support.assertions import jwks, key, signed
from tests.unit.examples import ISSUER

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import Algorithm

NOW = 1_800_000_000
CLIENT = "client-one"
AUDIENCES = (ISSUER, f"{ISSUER}/token")
KEYS = client_keys.parse(jwks(key()))


def verdict(
    assertion: str, keys: client_keys.ClientKeys = KEYS, *, now: int = NOW
) -> VerifiedAssertion | AssertionFault:
    return check(assertion, keys, client_id=CLIENT, audiences=AUDIENCES, now=now)


def made(audience: str | list[str] = ISSUER, **given_: Any) -> str:
    return signed(CLIENT, audience, **{"now": NOW, **given_})


def b64(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "EdDSA", "Ed25519"])
def test_each_algorithm_is_accepted_with_a_key_of_its_kind(algorithm: Algorithm) -> None:
    own = key(algorithm)
    assertion = made(by=own, jti="one")
    assert verdict(assertion, client_keys.parse(jwks(own))) == VerifiedAssertion("one", NOW + 300 + 31)


def test_an_rsa_key_without_an_algorithm_accepts_both() -> None:
    own = key("RS256")
    bare = {name: value for name, value in own.public_jwk().items() if name != "alg"}
    claims = {"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "exp": NOW + 60, "jti": "x"}
    for algorithm in ("RS256", "PS256"):
        assertion = jwt.encode(claims, own.private_key, algorithm, headers={"kid": own.kid})
        assert isinstance(verdict(assertion, client_keys.parse({"keys": [bare]})), VerifiedAssertion)
        named = client_keys.parse(jwks(own))
        assert isinstance(verdict(assertion, named), VerifiedAssertion) == (algorithm == "RS256")


@pytest.mark.requirement("rfc7523:aud")
@pytest.mark.parametrize("audience", [ISSUER, f"{ISSUER}/token", [ISSUER], [ISSUER, f"{ISSUER}/token"]])
def test_the_audience_is_the_issuer_or_its_token_endpoint(audience: str | list[str]) -> None:
    assert isinstance(verdict(made(audience)), VerifiedAssertion)


@pytest.mark.requirement("rfc7523:aud")
@pytest.mark.parametrize(
    "audience",
    [None, "", [], f"{ISSUER}/", "https://other.example", [ISSUER, "https://other.example"], 5, {"a": ISSUER},
     [[ISSUER]]],
)  # fmt: skip
def test_an_assertion_with_another_audience_is_refused(audience: Any) -> None:
    assert verdict(made(aud=audience)) is AssertionFault.WRONG_AUDIENCE


@pytest.mark.requirement("rfc7523:iss", "rfc7523:sub")
@pytest.mark.parametrize("claims", [{"iss": "another"}, {"iss": None}])
def test_issuer_and_subject_are_the_client(claims: dict[str, Any]) -> None:
    assert verdict(made(**claims)) is AssertionFault.WRONG_CLIENT
    assert verdict(made(sub="another", iss="another")) is AssertionFault.WRONG_CLIENT


@pytest.mark.parametrize("jti", [None, "", 5, "x" * 257, ["x"]])
def test_a_jti_is_required(jti: Any) -> None:
    assert verdict(made(jti=jti)) in {AssertionFault.NO_ID, AssertionFault.MALFORMED}


@pytest.mark.requirement("rfc7523:exp", "rfc7523:exp-far", "rfc7523:nbf")
@pytest.mark.parametrize(
    ("claims", "fault"),
    [
        ({"exp": None}, AssertionFault.BAD_TIMES),
        ({"exp": True}, AssertionFault.BAD_TIMES),
        ({"exp": "soon"}, AssertionFault.BAD_TIMES),
        ({"exp": float("nan")}, AssertionFault.BAD_TIMES),
        ({"exp": float("inf")}, AssertionFault.BAD_TIMES),
        ({"exp": 10**400}, AssertionFault.BAD_TIMES),
        ({"exp": NOW + 1.5, "iat": -(10**400)}, AssertionFault.BAD_TIMES),
        ({"exp": NOW + 3700}, AssertionFault.BAD_TIMES),
        ({"exp": NOW + 3000, "iat": NOW - 3000}, AssertionFault.BAD_TIMES),
        ({"iat": "now"}, AssertionFault.BAD_TIMES),
        ({"nbf": None, "iat": [NOW]}, AssertionFault.BAD_TIMES),
        ({"exp": NOW - 30}, AssertionFault.EXPIRED),
        ({"exp": 0, "iat": None}, AssertionFault.EXPIRED),
        ({"iat": NOW + 31}, AssertionFault.NOT_YET_VALID),
        ({"nbf": NOW + 31}, AssertionFault.NOT_YET_VALID),
    ],
)
def test_times_out_of_bounds_are_refused(claims: dict[str, Any], fault: AssertionFault) -> None:
    assert verdict(made(**claims)) is fault


@pytest.mark.parametrize("claims", [{"exp": NOW - 29}, {"exp": NOW + 1.5}, {"iat": NOW + 30}, {"iat": None}])
def test_a_small_difference_between_clocks_is_accepted(claims: dict[str, Any]) -> None:
    found = verdict(made(**claims))
    assert isinstance(found, VerifiedAssertion)
    assert found.until > claims.get("exp", NOW)


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512", "RS512", "ES256K", "", 5, None])
def test_other_algorithms_are_refused_before_any_key_is_looked_up(algorithm: Any) -> None:
    payload = made().split(".")[1]
    assert isinstance(parse_unverified(f"{b64({'alg': algorithm, 'typ': 'JWT'})}.{payload}.c2ln"), AssertionFault)


def test_a_public_key_is_not_accepted_as_a_shared_secret() -> None:
    header, payload = b64({"alg": "HS256", "kid": key().kid}), made().split(".")[1]
    assert verdict(f"{header}.{payload}.c2ln") is AssertionFault.WRONG_ALGORITHM


@pytest.mark.parametrize("headers", [{"typ": "at+jwt"}, {"typ": 5}, {"crit": ["exp"]}, {"crit": []}])
def test_other_types_and_critical_extensions_are_refused(headers: dict[str, Any]) -> None:
    header = b64({"alg": "ES256", "kid": key().kid, **headers})
    assert parse_unverified(f"{header}.{made().split('.')[1]}.c2ln") in {
        AssertionFault.WRONG_TYPE,
        AssertionFault.MALFORMED,
    }


@pytest.mark.requirement("rfc7523:signed")
def test_another_key_and_a_changed_payload_are_refused() -> None:
    stranger = key("ES256", "stranger")
    assert verdict(made(by=stranger)) is AssertionFault.UNKNOWN_KEY
    assert verdict(made(by=stranger, headers={"kid": key().kid})) is AssertionFault.BAD_SIGNATURE
    header, _, signature = made().split(".")
    assert verdict(f"{header}.{made(exp=NOW + 9).split('.')[1]}.{signature}") is AssertionFault.BAD_SIGNATURE


def test_without_a_kid_there_must_be_one_matching_key() -> None:
    anonymous = made(headers={"typ": "JWT"})
    assert isinstance(verdict(anonymous), VerifiedAssertion)
    several = client_keys.parse(jwks(key(), key("ES256", "stranger")))
    assert verdict(anonymous, several) is AssertionFault.UNKNOWN_KEY
    assert isinstance(verdict(made(), several), VerifiedAssertion)


@given(st.text() | st.lists(st.text("abcdef-_0", min_size=1), min_size=3, max_size=3).map(".".join))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    assert isinstance(verdict(text), AssertionFault)


HEADER = st.dictionaries(
    st.sampled_from(["alg", "kid", "typ", "crit", "b64", "x"]), st.text() | st.integers() | st.none()
)
CLAIMS = st.dictionaries(
    st.sampled_from(["iss", "sub", "aud", "exp", "iat", "nbf", "jti"]),
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2),
)


@pytest.mark.requirement("rfc7523:signed")
@given(HEADER, CLAIMS | st.lists(st.text()))
def test_any_unsigned_jwt_is_refused(header: dict[str, Any], claims: Any) -> None:
    text = f"{b64({'alg': 'ES256', **header})}.{b64(claims)}.c2ln"
    assert isinstance(verdict(text), AssertionFault)


@given(CLAIMS)
def test_signed_claims_are_accepted_only_if_they_are_right(claims: dict[str, Any]) -> None:
    payload = {"iss": CLIENT, "sub": CLIENT, "aud": ISSUER, "exp": NOW + 60, "jti": "x", **claims}
    signer = key()
    text = jwt.PyJWS().encode(json.dumps(payload).encode(), signer.private_key, "ES256", {"kid": signer.kid})
    found = verdict(text)
    if isinstance(found, VerifiedAssertion):
        assert payload["iss"] == payload["sub"] == CLIENT
        assert 0 < found.until - NOW <= 3700
        assert found.jti == payload["jti"]


def test_the_unverified_content_can_be_read_before_verification() -> None:
    assert parse_unverified(made()) == UnverifiedAssertion(CLIENT, key().kid, "ES256")


# -- key sets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "document",
    [
        None, [], {}, {"keys": None}, {"keys": []}, {"keys": ["x"]},
        {"keys": [{"kty": "oct", "k": "c2VjcmV0"}]},
        {"keys": [key().public_jwk(), {"kty": "oct", "k": "c2VjcmV0"}]},
        {"keys": [{**key().public_jwk(), "d": "x"}]},
        {"keys": [{**key().public_jwk(), "use": "enc"}]},
        {"keys": [{**key().public_jwk(), "key_ops": ["encrypt"]}]},
        {"keys": [{**key().public_jwk(), "alg": "ES384"}]},
        {"keys": [{**key().public_jwk(), "x": "AAAA"}]},
        {"keys": [{**key().public_jwk(), "x": 5}]},
        {"keys": [{**key().public_jwk(), "kid": 5}]},
        {"keys": [key().public_jwk(), key().public_jwk()]},
        {"keys": [key().public_jwk()] * 21},
    ],
)  # fmt: skip
def test_a_key_set_without_a_usable_key_or_with_a_secret_one_is_refused(document: object) -> None:
    with pytest.raises(ValueError, match="key"):
        client_keys.parse(document)


def test_keys_of_unused_kinds_are_skipped() -> None:
    foreign = {"kty": "OKP", "crv": "X25519", "x": "AAAA"}
    keys = client_keys.parse({"keys": [foreign, key().public_jwk(), {"kty": "EC", "crv": "P-521"}]})
    assert keys.document() == jwks(key())


@pytest.mark.parametrize("bits", [33, 512, 2047])
def test_an_rsa_key_with_a_large_exponent_is_refused_before_it_is_used(bits: int) -> None:
    usual = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True)
    exponent = (1 << (bits - 1) | 1).to_bytes((bits + 7) // 8, "big")
    large = usual | {"e": base64.urlsafe_b64encode(exponent).rstrip(b"=").decode()}
    assert client_keys.parse({"keys": [usual]}).keys
    with pytest.raises(ValueError, match="exponent"):
        client_keys.parse({"keys": [large]})


def test_a_short_rsa_key_is_refused() -> None:
    short = RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)  # noqa: S505
    with pytest.raises(ValueError, match="2048"):
        client_keys.parse({"keys": [short]})


MEMBER = st.sampled_from(["keys", "kty", "crv", "x", "y", "n", "e", "kid", "alg", "use", "key_ops", "d"])
VALUE = st.sampled_from(["EC", "RSA", "OKP", "P-256", "Ed25519", "AQAB", "sig"])


@given(
    st.recursive(
        st.none() | st.text() | st.integers() | VALUE,
        lambda inner: st.dictionaries(MEMBER, inner | VALUE) | st.lists(inner),
    )
)
def test_any_document_is_a_key_set_or_refused(document: object) -> None:
    try:
        client_keys.parse({"keys": [document]})
    except ValueError:
        return
