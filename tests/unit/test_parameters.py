"""Request parameters: each at most once, an empty one is absent."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.parameters import Parameters
from tests.unit.refusals import refusal

NAMES = st.sampled_from(["client_id", "state", "scope", "resource"])
# The characters that RFC 6749 section 5.2 permits in an error_description.
DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")


def test_a_parameter_that_was_sent_once_is_returned() -> None:
    parameters = Parameters.decode(b"state=a%20b+c%26d&scope=x")
    assert parameters.get("state") == "a b c&d"
    assert parameters.require("scope") == "x"


@pytest.mark.parametrize("encoded", [b"", b"state=", b"state", b"other=1", b"state=&state="])
def test_an_empty_parameter_counts_as_absent(encoded: bytes) -> None:
    parameters = Parameters.decode(encoded)
    assert parameters.get("state") is None
    with pytest.raises(DisplayedError, match="state is missing"):
        parameters.require("state")


@pytest.mark.requirement("oauth21:once")
@pytest.mark.parametrize("encoded", [b"state=a&state=b", b"state=a&state=a", b"state=a&%73tate=b"])
def test_a_parameter_sent_twice_is_refused(encoded: bytes) -> None:
    parameters = Parameters.decode(encoded)
    with pytest.raises(DisplayedError, match="state was sent more than once") as caught:
        parameters.get("state")
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    with pytest.raises(DisplayedError, match="state was sent more than once"):
        parameters.check_unique()


@pytest.mark.requirement("rfc8707:several")
def test_only_resource_may_repeat() -> None:
    parameters = Parameters.decode(b"resource=a&resource=b&resource=a&resource=")
    parameters.check_unique()
    assert parameters.all("resource") == ("a", "b")


@pytest.mark.parametrize(
    "encoded",
    [b"state=%ff", b"state=%ed%a0%80", b"state=\xc3\xa9", b"%ff=x", b"&".join([b"x=y"] * 101)],
    ids=["not UTF-8", "a surrogate", "not ASCII", "a name that is not UTF-8", "too many"],
)
def test_an_ambiguous_or_undecodable_body_is_refused(encoded: bytes) -> None:
    with pytest.raises(DisplayedError) as caught:
        Parameters.decode(encoded)
    assert caught.value.code is ErrorCode.INVALID_REQUEST


def test_a_semicolon_is_no_separator() -> None:
    assert Parameters.decode(b"state=a;scope=b").get("state") == "a;scope=b"


@pytest.mark.parametrize(("value", "fault"), [("a" * 4097, "longer"), ("a\x00b", "NUL")])
def test_a_value_that_is_too_long_or_contains_nul_is_refused(value: str, fault: str) -> None:
    parameters = Parameters([("state", value)])
    with pytest.raises(DisplayedError, match=fault):
        parameters.get("state")
    with pytest.raises(DisplayedError, match=fault):
        parameters.check_unique()


def test_too_many_or_too_long_resources_are_refused() -> None:
    Parameters([("resource", str(number)) for number in range(20)]).all("resource")
    with pytest.raises(DisplayedError):
        Parameters([("resource", str(number)) for number in range(21)]).all("resource")
    with pytest.raises(DisplayedError):
        Parameters([("resource", "ok"), ("resource", "a" * 4097)]).all("resource")


@pytest.mark.parametrize("name", ['a"b', "a\\b", "é", "<script>", "a" * 65, "a\r\nb", ""])
def test_an_invented_parameter_name_is_not_repeated(name: str) -> None:
    with pytest.raises(DisplayedError) as caught:
        Parameters([(name, "1"), (name, "2")]).check_unique()
    assert caught.value.description == "a parameter was sent more than once"


@pytest.mark.requirement("oauth21:injection")
@given(st.binary(max_size=200))
def test_any_bytes_give_parameters_or_invalid_request(encoded: bytes) -> None:
    error = refusal(lambda: Parameters.decode(encoded).check_unique())
    assert error is None or error.code is ErrorCode.INVALID_REQUEST
    assert error is None or DESCRIPTION.fullmatch(error.description)


@given(st.lists(st.tuples(st.text(max_size=80), st.text(max_size=3)), max_size=6))
def test_a_refusal_has_only_characters_of_an_error_description(pairs: list[tuple[str, str]]) -> None:
    error = refusal(lambda: Parameters([*pairs, *pairs]).check_unique())
    assert error is None or DESCRIPTION.fullmatch(error.description)


@given(st.lists(st.tuples(NAMES, st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), max_size=10))
def test_encoded_parameters_are_decoded_unchanged(pairs: list[tuple[str, str]]) -> None:
    parameters = Parameters.decode(urlencode(pairs).encode())
    for name in {name for name, _ in pairs} - {"resource"}:
        values = [value for other, value in pairs if other == name and value]
        if len(values) > 1 or any("\x00" in value for value in values):
            with pytest.raises(DisplayedError):
                parameters.get(name)
        else:
            assert parameters.get(name) == (values[0] if values else None)
