"""Explains why a person has or lacks a right: the result of a check, with its reasons in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.policy.access import AccessResult, Rights, evaluate
from oauth_core.policy.eligibility import names_of
from oauth_core.policy.permissions import implies, matches
from oauth_core.policy.tool_rules import RequiredPermissions, required_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.model import Service
    from oauth_core.policy.mcp_request import Call, Session
    from oauth_core.policy.rbac import RbacPolicy


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether the request is allowed, and the reasons, one for each line."""

    allowed: bool
    reasons: tuple[str, ...]


def explain(
    policy: RbacPolicy,
    service: Service,
    request: Session | Call,
    *,
    user: str,
    groups: Sequence[str] = (),
    scopes: frozenset[str] | None = None,
) -> Explanation:
    """Whether `user`, in these `groups`, may send `request` with a token of these `scopes` (`None`: all).

    `user` is a login, or `login#id`.
    """
    member = tuple(group.lower() for group in groups)
    login, _, number = user.partition("#")
    github_id = int(number) if number else None
    roles = policy.roles_of(login, github_id, member)
    permissions = policy.permissions_of(login, github_id, member)
    required = (
        RequiredPermissions(service.permissions) if service.rules is None else required_for(service, request)
    )
    has = frozenset(service.permissions) | {service.scope} if scopes is None else scopes
    reasons = [_requirement_in_words(service, required)]
    reasons += [f"role {role.name}: {role.given_by(names_of(login, github_id), member)}" for role in roles]
    if not roles:
        reasons.append(f"{user} has no role")
    for name in required.permissions:
        if not permissions.allows(name):
            forbidding = [role.name for role in roles if matches(role.permissions.forbidden, name)]
            reasons.append(f"{name}: " + (f"forbidden by {', '.join(forbidding)}" if forbidding else "not given"))
            continue
        giving = ", ".join(role.name for role in roles if matches(role.permissions.granted, name))
        reasons.append(
            f"{name}: given by {giving}" + ("" if implies(has, name) else ", but not in the token's scopes")
        )
    allowed = evaluate(service, Rights(has, permissions), request) is AccessResult.GRANTED
    return Explanation(allowed, tuple(reasons))


def _requirement_in_words(service: Service, required: RequiredPermissions) -> str:
    if not required.permissions:
        return f"no permission is enough: {service.name} has no rule for this request and no `otherwise`"
    joined = (" or " if required.any_is_enough else " and ").join(required.permissions)
    return f"needs {joined}"
