"""Errors are values that travel: through context managers, into answers and into logs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.errors import DisplayedError, ErrorCode, OAuthError, RedirectedError, SettingsError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

DISPLAYED = DisplayedError(ErrorCode.INVALID_REQUEST, "what is wrong")
REDIRECTED = RedirectedError(ErrorCode.INVALID_SCOPE, "what is wrong", "https://client.example/cb", "s")


@contextlib.contextmanager
def passing() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def passing_async() -> AsyncIterator[None]:
    yield


@pytest.mark.parametrize("error", [DISPLAYED, REDIRECTED], ids=["displayed", "redirected"])
def test_an_error_passes_through_a_context_manager_as_itself(error: OAuthError) -> None:
    with pytest.raises(OAuthError) as caught, passing():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [DISPLAYED, REDIRECTED], ids=["displayed", "redirected"])
async def test_an_error_passes_through_asynchronous_context_managers_as_itself(error: OAuthError) -> None:
    with pytest.raises(OAuthError) as caught:
        async with passing_async(), contextlib.AsyncExitStack():
            raise error
    assert caught.value is error


def test_an_error_says_its_code_and_its_description() -> None:
    assert str(DISPLAYED) == "invalid_request: what is wrong"


def test_an_error_can_be_kept_in_a_set() -> None:
    assert len({DISPLAYED, REDIRECTED, DISPLAYED}) == 2


def test_a_displayed_error_is_no_redirected_one() -> None:
    assert not isinstance(DISPLAYED, RedirectedError)
    assert not isinstance(REDIRECTED, DisplayedError)


def test_a_settings_error_keeps_every_fault() -> None:
    assert SettingsError(["one", "two"]).faults == ("one", "two")


@given(st.text(max_size=50))
def test_a_description_goes_out_in_the_characters_that_the_parameter_may_have(text: str) -> None:
    told = DisplayedError(ErrorCode.INVALID_REDIRECT_URI, text).error_description
    assert set(told) <= set(map(chr, (0x20, 0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))))
    assert len(told) == len(text)


def test_a_description_that_is_fit_goes_out_as_it_is() -> None:
    text = "redirect URI http://app.example/cb uses http; only loopback addresses may"
    assert DisplayedError(ErrorCode.INVALID_REDIRECT_URI, text).error_description == text
