"""Sealing: a sealed value opens only with the same key and the same context."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto.credentials import new_key
from oauth_core.crypto.sealing import UnsealError, derive_key, read_key, seal, unseal

KEY = new_key()


@given(st.binary(), st.text(st.characters(exclude_categories=["Cs"])))
def test_a_sealed_value_opens_again(plain: bytes, context: str) -> None:
    assert unseal(seal(plain, KEY, context=context), KEY, context=context) == plain


def test_sealing_the_same_value_gives_different_texts() -> None:
    assert len({seal(b"plain", KEY, context="here") for _ in range(50)}) == 50


def test_another_key_or_context_does_not_open_it() -> None:
    sealed = seal(b"plain", KEY, context="here")
    with pytest.raises(UnsealError):
        unseal(sealed, new_key(), context="here")
    with pytest.raises(UnsealError):
        unseal(sealed, KEY, context="there")


def test_every_changed_bit_is_detected() -> None:
    sealed = seal(b"plain", KEY, context="here")
    for position in range(len(sealed) * 8):
        changed = bytearray(sealed)
        changed[position // 8] ^= 1 << position % 8
        with pytest.raises(UnsealError):
            unseal(bytes(changed), KEY, context="here")


@given(st.binary(max_size=100))
def test_garbage_of_any_length_does_not_open(garbage: bytes) -> None:
    with pytest.raises(UnsealError):
        unseal(garbage, KEY, context="here")


def test_derived_keys_differ_by_secret_and_by_purpose() -> None:
    assert derive_key("secret", purpose="one") == derive_key("secret", purpose="one")
    keys = {derive_key(secret, purpose=purpose) for secret in ("a", "b") for purpose in ("one", "two")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}


@given(st.binary(min_size=32, max_size=32))
def test_a_key_is_read_in_either_alphabet_of_base64(key: bytes) -> None:
    assert read_key(base64.b64encode(key).decode()) == key
    assert read_key(base64.urlsafe_b64encode(key).decode()) == key


@given(
    st.one_of(
        st.text(), st.binary().filter(lambda raw: len(raw) != 32).map(lambda b: base64.b64encode(b).decode())
    )
)
def test_a_key_of_another_size_is_refused_with_advice_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="openssl rand -base64 32") as caught:
        read_key(text)
    assert len(text) < 9 or text not in str(caught.value)
