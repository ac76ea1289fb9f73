"""Random values, how they are stored and how they are compared."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto.credentials import (
    hash_secret,
    is_identifier,
    new_identifier,
    new_key,
    new_nonce,
    new_secret,
    pkce_challenge,
    pkce_matches,
    secret_matches,
)


@pytest.mark.requirement(
    "oauth21:brute-force",
    "oauth21:guessing",
    "rfc7591:unique-secret",
    "rfc7636:hidden",
    "rfc7662:rate",
    "rfc8628:device-code",
)
def test_secrets_have_256_bits_and_identifiers_128() -> None:
    assert len(base64.urlsafe_b64decode(new_secret() + "=")) == 32
    assert len(base64.urlsafe_b64decode(new_identifier() + "==")) == 16
    assert (len(new_key()), len(new_nonce())) == (32, 12)


def test_values_are_unique_and_safe_in_a_url() -> None:
    made = [make() for make in (new_secret, new_identifier) for _ in range(500)]
    assert len(set(made)) == len(made)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", value) for value in made)


@given(st.text())
def test_a_secret_matches_its_hash_and_is_not_contained_in_it(secret: str) -> None:
    stored = hash_secret(secret)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", stored)
    assert secret_matches(secret, stored)


@given(st.text(), st.text())
def test_no_other_secret_matches(secret: str, other: str) -> None:
    assert secret_matches(other, hash_secret(secret)) is (other == secret)


def test_a_hash_matches_neither_itself_nor_an_empty_text() -> None:
    stored = hash_secret("secret")
    assert not secret_matches(stored, stored)
    assert not secret_matches("secret", "")
    assert not secret_matches("", "")


@pytest.mark.requirement("rfc7636:s256")
def test_the_challenge_equals_the_example_of_the_rfc() -> None:
    # RFC 7636 appendix B
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert pkce_challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
    assert pkce_matches(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")


@pytest.mark.parametrize("method", ["plain", "hex", "padded"])
def test_a_challenge_made_in_another_way_does_not_match(method: str) -> None:
    verifier = new_secret()
    challenge = {
        "plain": verifier,
        "hex": hashlib.sha256(verifier.encode()).hexdigest(),
        "padded": f"{pkce_challenge(verifier)}=",
    }[method]
    assert not pkce_matches(verifier, challenge)


@pytest.mark.requirement("oauth21:client-id-sub")
@pytest.mark.parametrize("text", ["", "x" * 21, "x" * 23, "../../../keyring/aaaaa", "x" * 21 + "\n", "é" * 22])
def test_another_text_is_no_identifier(text: str) -> None:
    assert is_identifier(new_identifier())
    assert not is_identifier(text)
