"""The rules for who may sign in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oauth_core.model import User
from oauth_core.policy.eligibility import Eligibility, check_organizations, check_users, logins_among

if TYPE_CHECKING:
    from collections.abc import Iterable

OCTOCAT = User(583231, "OctoCat")
LOGIN = st.from_regex(r"[a-z0-9](-?[a-z0-9]){0,15}", fullmatch=True)


def is_admitted(user: User, allowed: Iterable[str]) -> bool:
    return Eligibility.from_lists(allowed, (), ()).is_eligible_by_name(user)


def test_an_empty_list_refuses_every_person() -> None:
    assert not is_admitted(OCTOCAT, ())


def test_a_listed_account_is_allowed_under_any_login_and_no_other_account_is() -> None:
    assert is_admitted(User(583231, "renamed"), ("octocat#583231",))
    assert not is_admitted(User(1, "octocat"), ("octocat#583231",))
    assert logins_among(Eligibility.from_lists(("octocat#583231", "Hubot", "*"), (), ()).users) == {"hubot"}


@pytest.mark.parametrize("entry", ["octocat#", "#1", "octocat#x", "octocat#01", "o c#1", "o#1#2", "o/x"])
def test_an_entry_that_is_neither_login_nor_account_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^it is neither a GitHub login"):
        check_users((entry,))


@pytest.mark.parametrize("entry", ["octocat", "OctoCat", "OCTOCAT"])
def test_a_login_is_compared_without_case(entry: str) -> None:
    assert is_admitted(OCTOCAT, ("somebody", entry))


@pytest.mark.parametrize(
    "entry", ["", "octo", "octocat2", "octo*", "**", " *", "*octocat", "583231", "octocat ", "octocat,somebody"]
)
def test_an_entry_is_a_complete_login_and_no_pattern(entry: str) -> None:
    assert not is_admitted(OCTOCAT, (entry,))


def test_a_star_allows_all_people() -> None:
    assert is_admitted(OCTOCAT, ("somebody", "*"))


def test_a_login_that_is_a_star_has_no_special_meaning() -> None:
    assert not is_admitted(User(1, "*"), ("octocat",))


@given(LOGIN, st.lists(LOGIN))
def test_only_listed_people_are_allowed(login: str, allowed: list[str]) -> None:
    assert is_admitted(User(1, login.upper()), allowed) is (login in allowed)


def test_memberships_allow_by_organisation_or_team_without_case() -> None:
    rule = Eligibility.from_lists((), ("Acme",), ("Birds/Watchers",))
    assert rule.groups == {"acme", "birds/watchers"}
    assert rule.is_eligible_by_group(("acme",))
    assert rule.is_eligible_by_group(("other", "birds/watchers"))
    assert not rule.is_eligible_by_group(())
    assert not rule.is_eligible_by_group(("birds", "acme/platform"))


def test_without_organisations_and_teams_no_membership_allows() -> None:
    rule = Eligibility.from_lists(("octocat",), (), ())
    assert rule.groups == frozenset()
    assert not rule.is_eligible_by_group(("acme", "acme/platform", "octocat"))


def test_a_star_among_organisations_is_no_pattern() -> None:
    assert not Eligibility.from_lists((), ("*",), ()).is_eligible_by_group(("acme",))
    assert not Eligibility.from_lists((), ("*",), ()).is_eligible_by_name(OCTOCAT)


@pytest.mark.parametrize("name", ["acme/platform", "", "ac me", "/"])
def test_an_organisation_with_the_form_of_a_team_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="organisation/team"):
        check_organizations((name,))
