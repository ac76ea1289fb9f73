"""Access tokens that an attacker made or changed: all of them are rejected."""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
from typing import TYPE_CHECKING

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.jose.signing_keys import VerifyingKeys, public_jwks
from oauth_core.tokens.access_tokens import LONGEST, TokenFault, mint
from tests.support.property_tests import examples
from tests.unit.forged_tokens import BODY, CLAIMS, HEADER, KEY, PAYLOAD, SIGNATURE, TOKEN, fault, segment, signed

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import Algorithm, SigningKey

# -- one spelling ------------------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc6750:integrity")
@examples(500)
@given(st.integers(0, len(TOKEN) - 1), st.characters(codec="ascii"))
def test_a_token_with_any_changed_character_is_rejected(position: int, character: str) -> None:
    changed = TOKEN[:position] + character + TOKEN[position + 1 :]
    assert changed == TOKEN or fault(changed) is not None


def test_a_token_with_any_changed_bit_in_its_last_character_is_rejected() -> None:
    # A signature of 64 bytes leaves four bits of its last character unused.
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    believed = [end for end in alphabet if fault(TOKEN[:-1] + end) is None]
    assert believed == [TOKEN[-1]]


@examples(300)
@given(st.integers(0, len(TOKEN)), st.text(min_size=1, max_size=3))
@example(len(TOKEN), "==")
@example(len(TOKEN) - 3, "\n")
@example(0, "\ud800")
def test_a_token_with_anything_inserted_is_rejected(position: int, inserted: str) -> None:
    assert fault(TOKEN[:position] + inserted + TOKEN[position:]) is not None


@given(st.integers(0, len(TOKEN) - 1), st.integers(1, 20))
def test_a_token_with_anything_removed_is_rejected(position: int, length: int) -> None:
    assert fault(TOKEN[:position] + TOKEN[position + length :]) is not None


@given(
    st.one_of(st.text(), st.binary().map(segment)).flatmap(lambda text: st.sampled_from([text, f"{text}.e30.e30"]))
)
@example("")
@example("..")
@example(f"{segment(b'[' * 5000)}.{BODY}.{SIGNATURE}")
@example(segment(b'{"a":' * 1000 + b"1" + b"}" * 1000) + ".e30.e30")
@example(segment(b'{"a":' + b"9" * 5000 + b"}") + ".e30.e30")
def test_malformed_text_is_rejected_and_never_raises(text: str) -> None:
    assert fault(text) is not None


def test_an_oversized_token_is_rejected_without_work() -> None:
    assert fault(TOKEN + "A" * LONGEST) is TokenFault.MALFORMED


# -- keys and algorithms -----------------------------------------------------------------------------------------


@pytest.mark.requirement("rfc9068:signed")
@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", None])
def test_an_unsigned_token_is_rejected(algorithm: str | None) -> None:
    header = segment({"typ": "at+jwt", "kid": KEY.kid, "alg": algorithm})
    for signature in ("", SIGNATURE, segment(b"x")):
        assert fault(f"{header}.{BODY}.{signature}") in {TokenFault.WRONG_ALGORITHM, TokenFault.MALFORMED}


@pytest.mark.requirement("rfc9068:verify-signature")
@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_a_token_signed_with_the_public_key_as_a_secret_is_rejected(
    algorithm: Algorithm, signing_keys: dict[Algorithm, SigningKey]
) -> None:
    key = signing_keys[algorithm]
    keys = VerifyingKeys.from_jwks(public_jwks([key]))
    public = key.private_key.public_key()
    secrets = [
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        json.dumps(key.public_jwk()).encode(),
        b"",
    ]
    for claimed in ("HS256", algorithm):
        header = segment({"typ": "at+jwt", "kid": key.kid, "alg": claimed})
        for secret in secrets:
            digest = hmac.digest(secret, f"{header}.{BODY}".encode(), hashlib.sha256)
            assert fault(f"{header}.{BODY}.{segment(digest)}", keys=keys) in {
                TokenFault.WRONG_ALGORITHM,
                TokenFault.BAD_SIGNATURE,
            }


@pytest.mark.requirement("rfc9068:verify-signature")
def test_a_token_names_its_key_but_cannot_choose_the_algorithm(signing_keys: dict[Algorithm, SigningKey]) -> None:
    rsa = signing_keys["RS256"]
    keys = VerifyingKeys.from_jwks(public_jwks([rsa, KEY]))
    pss = jwt.encode(PAYLOAD, rsa.private_key, "PS256", headers={"typ": "at+jwt", "kid": rsa.kid})
    assert fault(pss, keys=keys) is TokenFault.WRONG_ALGORITHM


def test_a_token_with_the_id_of_another_key_is_rejected(signing_keys: dict[Algorithm, SigningKey]) -> None:
    other = signing_keys["ES256"]
    keys = VerifyingKeys.from_jwks(public_jwks([KEY, other, signing_keys["RS256"]]))
    assert fault(signed(header={"kid": other.kid}), keys=keys) is TokenFault.BAD_SIGNATURE
    assert fault(signed(header={"kid": signing_keys["RS256"].kid}), keys=keys) is TokenFault.WRONG_ALGORITHM


def test_a_token_of_a_key_that_was_removed_from_the_ring_is_rejected(
    signing_keys: dict[Algorithm, SigningKey],
) -> None:
    assert fault(mint(CLAIMS, signing_keys["EdDSA"])) is TokenFault.UNKNOWN_KEY


@pytest.mark.parametrize("kid", [None, 5, [], {}, True, "", "../../etc/passwd", "jwks' OR 1=1"])
def test_an_invalid_key_id_is_rejected(kid: object) -> None:
    header = segment({"typ": "at+jwt", "kid": kid, "alg": "ES256"})
    token = f"{header}.{BODY}.{SIGNATURE}"
    assert fault(token) in {TokenFault.UNKNOWN_KEY, TokenFault.MALFORMED}


def test_keys_in_the_header_of_a_token_are_ignored(signing_keys: dict[Algorithm, SigningKey]) -> None:
    thief = signing_keys["ES256"]
    brought = {"jwk": thief.public_jwk(), "jku": "https://evil.example/jwks", "x5u": "https://evil.example/x"}
    assert fault(signed(key=thief, header=brought)) is TokenFault.UNKNOWN_KEY
    assert fault(signed(key=thief, header={**brought, "kid": KEY.kid})) is TokenFault.BAD_SIGNATURE


def test_signatures_that_are_zero_or_of_another_form_are_rejected() -> None:
    for signature in (bytes(64), b"\x00", b"\xff" * 64, bytes(63), bytes(65)):
        assert fault(f"{HEADER}.{BODY}.{segment(signature)}") is TokenFault.BAD_SIGNATURE


def test_the_signature_of_another_token_is_rejected() -> None:
    other = mint(dataclasses.replace(CLAIMS, github_user="admin"), KEY)
    assert fault(f"{HEADER}.{other.split('.')[1]}.{SIGNATURE}") is TokenFault.BAD_SIGNATURE
