"""Base64url has one spelling here, and every other spelling is refused where spellings matter."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto import base64url


@given(st.binary(max_size=200))
def test_encoded_bytes_are_decoded_unchanged(data: bytes) -> None:
    text = base64url.encode(data)
    assert base64url.decode(text) == base64url.decode_leniently(text) == data
    assert text == base64.b64encode(data, altchars=b"-_").decode().replace("=", "")


@given(st.text(st.sampled_from("AQZaz09-_+/= \nä"), max_size=12))
def test_only_the_canonical_spelling_is_decoded(text: str) -> None:
    data = base64url.decode(text)
    assert data is None or base64url.encode(data) == text


@pytest.mark.parametrize("text", ["QQ==", "QR", "A", "QUI+", "QUI/", "QU I", "QUI\n", "ÄÖÜß"])
def test_another_spelling_is_refused(text: str) -> None:
    assert base64url.decode(text) is None
