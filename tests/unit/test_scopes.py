"""Scopes: one string of words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.policy.scopes import join, parse
from tests.unit.refusals import refusal

WORDS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters='"\\'), min_size=1)


def test_words_keep_their_order_and_duplicates_are_removed() -> None:
    assert parse("b a  b c ") == ("b", "a", "c")


@pytest.mark.parametrize("nothing", [None, "", " ", "   "])
def test_an_empty_scope_has_no_words(nothing: str | None) -> None:
    assert parse(nothing) == ()


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\tb", "a\nb", "é", "a\x00", "a\x7f", "a\u2003b", "a" * 5000])
def test_forbidden_characters_are_refused(text: str) -> None:
    with pytest.raises(DisplayedError) as caught:
        parse(text)
    assert caught.value.code is ErrorCode.INVALID_SCOPE


@given(st.lists(WORDS, max_size=10, unique=True))
def test_joined_words_are_parsed_unchanged(words: list[str]) -> None:
    assert parse(join(words)) == tuple(words)


@given(st.text())
def test_any_text_gives_distinct_valid_words_or_invalid_scope(text: str) -> None:
    error = refusal(lambda: parse(text))
    if error is not None:
        assert error.code is ErrorCode.INVALID_SCOPE
        return
    words = parse(text)
    assert len(set(words)) == len(words)
    assert all(0x21 <= ord(character) <= 0x7E and character not in '"\\' for word in words for character in word)
