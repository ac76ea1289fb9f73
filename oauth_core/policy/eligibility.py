"""Eligibility to sign in: no person is eligible, unless the operator lists their login, organisation or team.

Organisations and teams are groups here: a team is written `organisation/team`, by its slug. Names are compared
without case, as GitHub itself does; they are ASCII.

A person is listed by login (`alice`) or by account (`alice#111`). GitHub gives a login that became free to the
next account that asks for it, so a login alone means the first account that was seen under it
(`oauth_core.store.records.users`). If an id is given, the login is only for readers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import User

ANYBODY = "*"
_LISTED = re.compile(r"[^#/\s]+(?:#([1-9][0-9]{0,18}))?")


def check_users(users: tuple[str, ...]) -> tuple[str, ...]:
    """Return `users` when each is a login, `login#id` or `*`; else raise `ValueError`."""
    for number, name in enumerate(users, 1):
        if _LISTED.fullmatch(name) is None:
            # The message leaves out the name: a secret in the wrong variable must not appear in a log.
            which = f"number {number}" if len(users) > 1 else "it"
            raise ValueError(f"{which} is neither a GitHub login nor login#id, where id is the account's number")
    return users


def check_user(user: str) -> str:
    """Check one name like `check_users`; it may not be `*`."""
    if user == ANYBODY:
        raise ValueError("a user is one person")
    return check_users((user,))[0]


def listed_as(name: str) -> str:
    """The form in which a listed user is compared: `#111` for an account, else the login in lower case."""
    login, mark, github_id = name.partition("#")
    return f"#{github_id}" if mark else login.lower()


def names_of(login: str, github_id: int | None) -> tuple[str, ...]:
    """The names under which a person may be listed, in the form of `listed_as`."""
    return (login.lower(),) if github_id is None else (login.lower(), f"#{github_id}")


def logins_among(listed: Iterable[str]) -> frozenset[str]:
    """The names in the form of `listed_as` that are logins without an account."""
    return frozenset(name for name in listed if name != ANYBODY and not name.startswith("#"))


def check_organizations(organizations: tuple[str, ...]) -> tuple[str, ...]:
    """Return `organizations` when none looks like a team; else raise `ValueError`."""
    if any(not re.fullmatch(r"[^/\s]+", organization) for organization in organizations):
        raise ValueError(
            "an organisation is one name; teams are written organisation/team and have their own list"
        )
    return organizations


def check_teams(teams: tuple[str, ...]) -> tuple[str, ...]:
    """Return `teams` when each is written `organisation/team`; else raise `ValueError`."""
    if any(not re.fullmatch(r"[^/\s]+/[^/\s]+", team) for team in teams):
        raise ValueError("each team is written organisation/team")
    return teams


@dataclass(frozen=True)
class Eligibility:
    """The operator's rule: a listed login, account or group is eligible; `*` among the users makes all eligible.

    `users` are in the form of `listed_as`.
    """

    users: frozenset[str]
    groups: frozenset[str]

    @classmethod
    def from_lists(cls, users: Iterable[str], organizations: Iterable[str], teams: Iterable[str]) -> Eligibility:
        """The rule for these lists."""
        groups = (*organizations, *teams)
        return cls(frozenset(map(listed_as, users)), frozenset(name.lower() for name in groups))

    def is_eligible_by_name(self, user: User) -> bool:
        """Whether `user` is on the list of users."""
        return ANYBODY in self.users or not self.users.isdisjoint(names_of(user.login, user.github_id))

    def is_eligible_by_group(self, groups: Iterable[str]) -> bool:
        """Whether one of `groups`, in lower case, is on a list."""
        return not self.groups.isdisjoint(groups)
