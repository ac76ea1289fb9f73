"""Who may sign in."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.admission import is_admitted
from oauth_core.model import User

OCTOCAT = User(583231, "OctoCat")
LOGIN = st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,15}", fullmatch=True)


def test_an_empty_list_admits_nobody() -> None:
    assert not is_admitted(OCTOCAT, ())


@pytest.mark.parametrize("entry", ["octocat", "OctoCat", "OCTOCAT"])
def test_a_login_is_compared_without_case(entry: str) -> None:
    assert is_admitted(OCTOCAT, ("somebody", entry))


@pytest.mark.parametrize(
    "entry", ["", "octo", "octocat2", "octo*", "**", " *", "*octocat", "583231", "octocat ", "octocat,somebody"]
)
def test_an_entry_is_a_whole_login_and_no_pattern(entry: str) -> None:
    assert not is_admitted(OCTOCAT, (entry,))


def test_a_star_admits_everybody() -> None:
    assert is_admitted(OCTOCAT, ("somebody", "*"))


def test_a_login_that_is_a_star_is_nobody_special() -> None:
    assert not is_admitted(User(1, "*"), ("octocat",))


@given(LOGIN, st.lists(LOGIN))
def test_only_those_on_the_list_are_admitted(login: str, allowed: list[str]) -> None:
    assert is_admitted(User(1, login.upper()), allowed) is (login in allowed)
