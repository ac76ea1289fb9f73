"""The access token: a minted token is verified, and a genuine signature alone is not enough."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.jose.signing_keys import VerifyingKeys, public_jwks
from oauth_core.model import AccessClaims
from oauth_core.tokens.access_tokens import TokenFault, Verified, mint, verify
from tests.support.property_tests import examples
from tests.unit.examples import ISSUER, TIME
from tests.unit.forged_tokens import (
    BODY,
    CLAIMS,
    KEY,
    KEYS,
    NOW,
    PAYLOAD,
    SIGNATURE,
    TOKEN,
    fault,
    segment,
    signed,
)

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import Algorithm, SigningKey

# -- minting ------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc9068:rs256")
@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "EdDSA", "Ed25519"])
def test_a_minted_token_is_verified_with_every_algorithm(
    algorithm: Algorithm, signing_keys: dict[Algorithm, SigningKey]
) -> None:
    keys = VerifyingKeys.from_jwks(public_jwks(signing_keys.values()))
    assert verify(mint(CLAIMS, signing_keys[algorithm]), keys, issuer=ISSUER, now=NOW) == Verified(CLAIMS)


@pytest.mark.requirement("rfc9068:typ")
def test_the_header_has_type_key_and_algorithm() -> None:
    assert jwt.get_unverified_header(TOKEN) == {"typ": "at+jwt", "kid": KEY.kid, "alg": "ES256"}


def test_one_audience_is_a_string_and_several_are_an_array() -> None:
    several = dataclasses.replace(CLAIMS, aud=("a", "b"))
    for claims, written in ((CLAIMS, TIME.resource), (several, ["a", "b"])):
        token = mint(claims, KEY)
        assert jwt.decode(token, options={"verify_signature": False})["aud"] == written
        assert verify(token, KEYS, issuer=ISSUER, now=NOW) == Verified(claims)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(
    st.builds(
        AccessClaims,
        iss=st.just(ISSUER),
        sub=TEXT,
        aud=st.lists(TEXT, min_size=1, max_size=3).map(tuple),
        exp=st.integers(NOW + 1, 2**40),
        iat=st.integers(0, NOW),
        jti=TEXT,
        client_id=TEXT,
        scope=TEXT,
        github_user=TEXT,
        github_id=st.integers(0, 2**40),
        groups=st.lists(TEXT, max_size=3).map(tuple),
    )
)
@examples(50)
def test_claims_are_unchanged_after_minting_and_verification(claims: AccessClaims) -> None:
    assert verify(mint(claims, KEY), KEYS, issuer=ISSUER, now=NOW) == Verified(claims)


# -- type and claims ---------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc9068:verify-typ", "rfc9068:no-mixing")
@pytest.mark.parametrize(
    "typ", ["JWT", "jwt", "AT+JWT", "application/at+jwt", "id_token", "", None, 5, ["at+jwt"]]
)
def test_a_valid_signature_on_another_type_of_token_is_rejected(typ: object) -> None:
    token = f"{segment({'typ': typ, 'kid': KEY.kid, 'alg': 'ES256'})}.{BODY}.{SIGNATURE}"
    assert fault(token) is TokenFault.WRONG_TYPE
    if isinstance(typ, str):
        assert fault(signed(header={"typ": typ})) is TokenFault.WRONG_TYPE


def test_a_header_with_critical_extensions_is_rejected() -> None:
    # RFC 7515 section 4.1.11
    assert fault(signed(header={"crit": ["exp"], "exp": 1})) is TokenFault.MALFORMED
    assert fault(signed(header={"crit": ["b64"], "b64": False})) is TokenFault.MALFORMED


@pytest.mark.requirement("rfc9068:claims")
@pytest.mark.parametrize("name", sorted(PAYLOAD))
def test_every_claim_is_required(name: str) -> None:
    assert (
        fault(signed({other: claim for other, claim in PAYLOAD.items() if other != name})) is TokenFault.BAD_CLAIMS
    )


@pytest.mark.parametrize("name", sorted(PAYLOAD))
@pytest.mark.parametrize("value", [None, True, False, 1.5, [], {}, ["x", 5], [None], [["x"]], "other kind"])
def test_every_claim_must_have_its_type(name: str, value: object) -> None:
    if value == "other kind":
        value = str(PAYLOAD[name]) if isinstance(PAYLOAD[name], int) else 1
    assert fault(signed({**PAYLOAD, name: value})) is TokenFault.BAD_CLAIMS


@pytest.mark.requirement("rfc9068:groups")
def test_groups_are_a_list_of_names_or_absent() -> None:
    assert "groups" not in PAYLOAD
    token = mint(dataclasses.replace(CLAIMS, groups=("acme", "acme/platform")), KEY)
    assert jwt.decode(token, options={"verify_signature": False})["groups"] == ["acme", "acme/platform"]
    for value in (None, True, 1, "acme", {}, {"acme": 1}, [1], ["acme", None], [["acme"]]):
        assert fault(signed({**PAYLOAD, "groups": value})) is TokenFault.BAD_CLAIMS


def test_a_machine_client_has_no_groups() -> None:
    machine = {**PAYLOAD, "sub": PAYLOAD["client_id"]}
    del machine["github_user"], machine["github_id"]
    assert fault(signed(machine)) is None
    assert fault(signed({**machine, "groups": ["acme"]})) is TokenFault.BAD_CLAIMS
    assert fault(signed({**machine, "groups": []})) is TokenFault.BAD_CLAIMS


def test_a_boolean_is_not_accepted_as_a_number() -> None:
    assert fault(signed({**PAYLOAD, "iat": True, "exp": NOW + 600})) is TokenFault.BAD_CLAIMS


@pytest.mark.parametrize("payload", [b"[]", b"null", b"5", b'"x"', b"{", b"\xff", b""])
def test_a_signed_payload_that_is_no_object_is_rejected(payload: bytes) -> None:
    token = jwt.api_jws.encode(payload, KEY.private_key, KEY.algorithm, headers={"typ": "at+jwt", "kid": KEY.kid})
    assert fault(token) is TokenFault.MALFORMED


@pytest.mark.requirement("mcp:only-own-tokens", "rfc9068:verify-iss")
@pytest.mark.parametrize("issuer", [f"{ISSUER}/", ISSUER.upper(), "https://evil.example", ""])
def test_an_issuer_that_differs_in_any_byte_is_rejected(issuer: str) -> None:
    assert fault(mint(dataclasses.replace(CLAIMS, iss=issuer), KEY)) is TokenFault.WRONG_ISSUER


# -- time --------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc9068:verify-exp")
def test_a_token_expires_at_its_exact_second() -> None:
    assert fault(TOKEN, now=CLAIMS.exp - 1) is None
    assert fault(TOKEN, now=CLAIMS.exp) is TokenFault.EXPIRED
    assert fault(TOKEN, now=CLAIMS.exp + 1) is TokenFault.EXPIRED


def test_a_token_from_the_future_is_rejected_except_for_a_small_skew() -> None:
    assert fault(TOKEN, now=CLAIMS.iat - 5) is None
    assert fault(TOKEN, now=CLAIMS.iat - 6) is TokenFault.NOT_YET_VALID


@pytest.mark.parametrize("exp", [0, -1, -(10**30)])
def test_a_token_with_an_empty_lifetime_is_rejected(exp: int) -> None:
    assert fault(signed({**PAYLOAD, "exp": exp})) is TokenFault.EXPIRED


@examples(50)
@given(st.integers(0, 2**40), st.integers(0, 2**40), st.integers(0, 2**40))
def test_an_accepted_token_is_within_its_lifetime(iat: int, exp: int, now: int) -> None:
    token = mint(dataclasses.replace(CLAIMS, iat=iat, exp=exp), KEY)
    assert (fault(token, now=now) is None) is (iat - 5 <= now < exp)
