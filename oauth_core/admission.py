"""Who may sign in. Nobody, unless the operator said so: by login, by organisation or by team.

Organisations and teams are groups here: a team is written `organisation/team`, by its slug. Names are compared
without case, as GitHub itself does; they are ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import User

ANYBODY = "*"


def check_organizations(organizations: tuple[str, ...]) -> tuple[str, ...]:
    """Return `organizations` when none could be taken for a team; else raise `ValueError`."""
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
class Admission:
    """The operator's rule: a login or a group that is listed admits; `*` among the users admits everybody."""

    users: frozenset[str]
    groups: frozenset[str]

    @classmethod
    def of(cls, users: Iterable[str], organizations: Iterable[str], teams: Iterable[str]) -> Admission:
        """The rule that these lists spell."""
        groups = (*organizations, *teams)
        return cls(*(frozenset(name.lower() for name in names) for names in (users, groups)))

    def admits_by_name(self, user: User) -> bool:
        """Whether `user` is on the list of users."""
        return ANYBODY in self.users or user.login.lower() in self.users

    def admits_by_group(self, groups: Iterable[str]) -> bool:
        """Whether one of `groups`, in lower case, is on a list."""
        return not self.groups.isdisjoint(groups)
