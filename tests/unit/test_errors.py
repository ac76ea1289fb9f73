"""Errors are values: they pass through context managers unchanged, and are used in answers and logs."""

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
def test_an_error_passes_through_a_context_manager_unchanged(error: OAuthError) -> None:
    with pytest.raises(OAuthError) as caught, passing():
        raise error
    assert caught.value is error


@pytest.mark.parametrize("error", [DISPLAYED, REDIRECTED], ids=["displayed", "redirected"])
async def test_an_error_passes_through_asynchronous_context_managers_unchanged(error: OAuthError) -> None:
    with pytest.raises(OAuthError) as caught:
        async with passing_async(), contextlib.AsyncExitStack():
            raise error
    assert caught.value is error


def test_the_text_of_an_error_has_its_code_and_its_description() -> None:
    assert str(DISPLAYED) == "invalid_request: what is wrong"


def test_an_error_is_hashable() -> None:
    assert len({DISPLAYED, REDIRECTED, DISPLAYED}) == 2


def test_a_displayed_error_is_no_redirected_one() -> None:
    assert not isinstance(DISPLAYED, RedirectedError)
    assert not isinstance(REDIRECTED, DisplayedError)


def test_a_settings_error_keeps_every_fault() -> None:
    assert SettingsError(["one", "two"]).faults == ("one", "two")


@given(st.text(max_size=50))
def test_a_description_is_sent_only_with_permitted_characters(text: str) -> None:
    told = DisplayedError(ErrorCode.INVALID_REDIRECT_URI, text).error_description
    assert set(told) <= set(map(chr, (0x20, 0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))))
    assert len(told) == len(text)


def test_a_valid_description_is_sent_unchanged() -> None:
    text = "redirect URI http://app.example/cb uses http; only loopback addresses may"
    assert DisplayedError(ErrorCode.INVALID_REDIRECT_URI, text).error_description == text
