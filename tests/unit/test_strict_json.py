"""JSON that has one meaning; everything else is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.strict_json import parse

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**90), 10**90), st.floats(allow_nan=False), TEXT).filter(
        lambda value: value not in {float("inf"), float("-inf")}
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=20,
)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'"a\nb"', "not JSON"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b'"\xff"', "not UTF-8"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": 1, "a": 2}', "two members of the same name"),
        (b'{"a": 1, "\\u0061": 2}', "two members of the same name"),
        (b'[{"x": {"a": 1, "a": 1}}]', "two members of the same name"),
        (b'{"a": NaN}', "NaN"),
        (b"Infinity", "Infinity"),
        (b"[-Infinity]", "Infinity"),
        (b"1e999", "too large"),
        (b"[-1e999]", "too large"),
        (b"9" * 101, "too large"),
        (b"9" * 5000, "too large"),
        (b'"\\ud800"', "surrogate"),
        (b'{"\\udc00": 1}', "surrogate"),
        (b'[["\\ude00\\ud800"]]', "surrogate"),
        (b"[" * 40 + b"]" * 40, "too deeply"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "too deeply"),
        (b"[" * 100_000, "too deeply"),
        (b'{"a":' * 20_000, "too deeply"),
    ],
)
def test_an_ambiguous_body_is_refused_with_a_reason(body: bytes, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        parse(body)
    assert str(caught.value).startswith("the body")


def test_a_complete_surrogate_pair_is_a_character() -> None:
    assert parse(b'"\\ud83d\\ude00"') == "\U0001f600"


def test_thirty_levels_are_within_the_limit() -> None:
    assert json.dumps(parse(b"[" * 30 + b"]" * 30)) == "[" * 30 + "]" * 30


@given(VALUES)
def test_a_written_value_is_read_unchanged(value: object) -> None:
    assert parse(json.dumps(value).encode()) == value
    assert parse(json.dumps(value, ensure_ascii=False).encode()) == value


PIECES = st.sampled_from(
    ["{", "}", "[", "]", ",", ":", '"', "a", "\\u", "\\ud800", "1", "-", "e9", ".", "NaN", "null"]
)


@given(st.one_of(st.binary(), st.lists(PIECES).map(lambda pieces: "".join(pieces).encode())))
def test_any_bytes_give_a_value_that_can_be_written_or_a_reason(body: bytes) -> None:
    try:
        value = parse(body)
    except ValueError as error:
        assert str(error).startswith("the body")  # noqa: PT017 - either outcome is fine, each on its terms
    else:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
