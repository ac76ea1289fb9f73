"""Records that are authenticated at rest: only a signed text opens, and only at its own key."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.crypto.record_authentication import ForgedRecordError, RecordKey

KEY = RecordKey(bytes(range(32)))
TEXTS = st.text(max_size=60)


@given(TEXTS, TEXTS)
def test_a_signed_text_opens_at_its_own_key(place: str, text: str) -> None:
    assert KEY.open(place, KEY.sign(place, text)) == text


@given(TEXTS, TEXTS, TEXTS)
def test_a_record_does_not_open_at_another_key(place: str, other: str, text: str) -> None:
    if other == place:
        return
    with pytest.raises(ForgedRecordError):
        KEY.open(other, KEY.sign(place, text))


@given(TEXTS, TEXTS, st.integers(0, 200), st.characters())
def test_a_changed_record_does_not_open(place: str, text: str, at: int, character: str) -> None:
    signed = KEY.sign(place, text)
    at %= len(signed)
    changed = signed[:at] + character + signed[at + 1 :]
    if changed == signed:
        return
    with pytest.raises(ForgedRecordError):
        KEY.open(place, changed)


@given(TEXTS, TEXTS)
def test_an_unsigned_record_does_not_open(place: str, text: str) -> None:
    with pytest.raises(ForgedRecordError):
        KEY.open(place, text)


@given(TEXTS, TEXTS)
def test_a_record_of_another_master_key_does_not_open(place: str, text: str) -> None:
    with pytest.raises(ForgedRecordError):
        KEY.open(place, RecordKey(bytes(32)).sign(place, text))


@given(TEXTS, TEXTS, TEXTS)
def test_moving_text_between_key_and_record_changes_the_code(place: str, between: str, text: str) -> None:
    if between:
        assert KEY.code_of(place + between, text) != KEY.code_of(place, between + text)
