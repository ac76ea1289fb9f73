"""Roles: sets of permissions that are given to users, organisations, teams or everyone.

Without any roles, every eligible person may use every service, and has no other right. As soon as there is one
role, only roles count. If one role forbids a permission, no other role gives it back. Names are lower case, as
GitHub ignores case. Users are listed by login or by account, in the form of
`oauth_core.policy.eligibility.listed_as`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from oauth_core.limits.call_limits import NO_LIMITS, NO_SERVICE_LIMITS, CallLimits, ServiceLimits, most_generous
from oauth_core.policy.eligibility import logins_among, names_of
from oauth_core.policy.permissions import EVERYTHING, Permissions
from oauth_core.policy.scopes import of_service

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from oauth_core.model import Service

UNLIMITED = Permissions(frozenset({EVERYTHING}))
"""For machine clients: no person is behind them, and their scopes, which the operator chose, are their rights."""


@dataclass(frozen=True, slots=True)
class Role:
    """Permissions under one name, and the people that have them. `groups` are organisations, and teams as
    `org/team`. `limits` are for their calls to all services together.
    """

    name: str
    permissions: Permissions
    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    everyone: bool = False
    limits: CallLimits = NO_LIMITS

    def given_by(self, names: Iterable[str], groups: Iterable[str]) -> str | None:
        """The reason why a person with these `names` (`oauth_core.policy.eligibility.names_of`) has this role;
        `None` if they do not have it.
        """
        if listed := sorted(self.users.intersection(names)):
            return f"user {listed[0]}"
        if found := sorted(self.groups.intersection(groups)):
            return f"{'team' if '/' in found[0] else 'organisation'} {found[0]}"
        return "everyone" if self.everyone else None


@dataclass(frozen=True)
class RbacPolicy:
    """The operator's rules. `limits` are those of the services that have some, by name."""

    roles: tuple[Role, ...]
    limits: Mapping[str, ServiceLimits] = field(default_factory=dict)

    @classmethod
    def from_roles(
        cls,
        roles: Iterable[Role],
        services: Iterable[Service],
        limits: Mapping[str, ServiceLimits] | None = None,
    ) -> RbacPolicy:
        """The policy of `roles`; without any, the one that gives everyone the services."""
        written = tuple(roles)
        if written:
            return cls(written, limits or {})
        names = frozenset(name for service in services for name in of_service(service))
        return cls((Role("everybody", Permissions(names), everyone=True),), limits or {})

    def limits_at(self, service: Service) -> ServiceLimits:
        """The limits at `service`."""
        return self.limits.get(service.name, NO_SERVICE_LIMITS)

    def limits_of(
        self, login: str, github_id: int | None, groups: Iterable[str]
    ) -> tuple[tuple[str, CallLimits], ...]:
        """The limits of a person at all services together, with the role of each: the most generous of each
        kind.
        """
        if not any(role.limits for role in self.roles):
            return ()
        return most_generous((role.name, role.limits) for role in self.roles_of(login, github_id, groups))

    @property
    def groups_mentioned(self) -> frozenset[str]:
        """The organisations and teams that roles name."""
        return frozenset(group for role in self.roles for group in role.groups)

    @property
    def logins_mentioned(self) -> frozenset[str]:
        """The logins that roles name without the id of the account."""
        return logins_among(name for role in self.roles for name in role.users)

    def roles_of(self, login: str, github_id: int | None, groups: Iterable[str]) -> tuple[Role, ...]:
        """The roles of a person, in the order of the settings. `groups` are in lower case, as in tokens."""
        names, member = names_of(login, github_id), tuple(groups)
        return tuple(role for role in self.roles if role.given_by(names, member))

    def permissions_of(self, login: str, github_id: int | None, groups: Iterable[str]) -> Permissions:
        """The permissions of a person. A person without a role has none."""
        return _together(self.roles_of(login, github_id, groups))


@lru_cache(maxsize=4096)
def _together(roles: tuple[Role, ...]) -> Permissions:
    """The permissions of several roles. Cached, so that people with the same roles share one object."""
    return Permissions(
        frozenset().union(*(role.permissions.granted for role in roles)),
        frozenset().union(*(role.permissions.forbidden for role in roles)),
    )
