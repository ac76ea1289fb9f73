"""Who may sign in. Nobody, unless the operator said so: by login, by organisation or by team.

Names are compared without case, as GitHub itself does; they are ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import User

ANYBODY = "*"


def check_teams(teams: tuple[str, ...]) -> tuple[str, ...]:
    """Return `teams` when each is written `organisation/team`; else raise `ValueError`."""
    if any(not re.fullmatch(r"[^/\s]+/[^/\s]+", team) for team in teams):
        raise ValueError("each team is written organisation/team")
    return teams


@dataclass(frozen=True)
class Memberships:
    """The organisations and teams, of those that matter here, that GitHub says somebody is an active member of.

    Lower case; a team is `organisation/slug`.
    """

    organizations: frozenset[str] = frozenset()
    teams: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Admission:
    """The operator's rule. Any one of the three lists admits; `*` among the users admits everybody."""

    users: frozenset[str]
    organizations: frozenset[str]
    teams: frozenset[str]

    @classmethod
    def of(cls, users: Iterable[str], organizations: Iterable[str], teams: Iterable[str]) -> Admission:
        """The rule that these lists spell."""
        return cls(*(frozenset(name.lower() for name in names) for names in (users, organizations, teams)))

    @property
    def asks_for_memberships(self) -> bool:
        """Whether somebody who is not on the list of users may still be admitted."""
        return bool(self.organizations or self.teams)

    def admits_by_name(self, user: User) -> bool:
        """Whether `user` is on the list of users."""
        return ANYBODY in self.users or user.login.lower() in self.users

    def admits_by_membership(self, memberships: Memberships) -> bool:
        """Whether one of `memberships` is on a list."""
        return bool(self.organizations & memberships.organizations or self.teams & memberships.teams)
