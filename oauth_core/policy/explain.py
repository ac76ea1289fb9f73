"""Explains why a person has or lacks a right: the result of a check, with its reasons in words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from oauth_core.model import AccessClaims
from oauth_core.policy.access import AccessResult, Rights, chosen, evaluate
from oauth_core.policy.argument_rules import unmet
from oauth_core.policy.charges import charges_of, tool_charges_of
from oauth_core.policy.eligibility import names_of
from oauth_core.policy.mcp_request import Session
from oauth_core.policy.permissions import implies, matches
from oauth_core.policy.tool_rules import RequiredPermissions, deciding_with_ways, required_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from oauth_core.model import ArgumentCondition, Service
    from oauth_core.policy.mcp_request import Call
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
    rights = Rights(has, permissions)
    reasons = list(_ways_in_words(service, request))
    required = chosen(required, rights)
    reasons.append(_requirement_in_words(service, required))
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
    # Limits depend on nothing else of a caller.
    caller = AccessClaims("", login, (), 0, 0, "", "", "", login, github_id, member)
    reasons += _limits_in_words(policy, service, request, caller)
    return Explanation(evaluate(service, rights, request) is AccessResult.GRANTED, tuple(reasons))


def _ways_in_words(service: Service, request: Session | Call) -> Iterator[str]:
    """Each way of the rules for the request, with its conditions and the first that the arguments do not meet."""
    if service.rules is None or isinstance(request, Session):
        return
    for rule in deciding_with_ways(service.rules, request):
        for number, way in enumerate(rule.ways, start=1):
            demands = [condition_in_words(condition) for condition in way.conditions]
            demands += [] if way.allows_others else ["no other arguments are given"]
            text = f"{rule.pattern}, way {number}: {' and '.join(way.permissions)}"
            text += f" if {' and '.join(demands)}" if demands else ""
            fault = unmet(way, request.arguments)
            yield f"{text}: not open, {fault.text}" if fault else text


def condition_in_words(condition: ArgumentCondition) -> str:
    """The demand of `condition` in words, with its values, for an operator."""
    paths = ["/".join(path) for path in condition.paths]
    demands = [
        *(["is left out"] if condition.present is False else []),
        *(["is given"] if condition.present else []),
        *([f"matches {_listed(condition.globs)}"] if condition.globs else []),
        *([f"is a path that matches {_listed(paths)}"] if paths else []),
        *([f"is one of {', '.join(map(_json, condition.one_of))}"] if condition.one_of else []),
        *([f"is at least {condition.at_least}"] if condition.at_least is not None else []),
        *([f"is at most {condition.at_most}"] if condition.at_most is not None else []),
        *(["is a whole number"] if condition.is_integer else []),
        *([f"has {_range(condition.characters)} characters"] if condition.characters else []),
        *([f"has {_range(condition.items)} items"] if condition.items else []),
    ]
    return f"{condition.field} {' and '.join(demands)}" + (" or is left out" if condition.optional else "")


def _listed(texts: Iterable[str]) -> str:
    return " or ".join(map(_json, texts))


def _json(value: object) -> str:
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _range(limits: tuple[int, int | None]) -> str:
    least, most = limits
    return f"at least {least}" if most is None else f"{least} to {most}"


def _limits_in_words(
    policy: RbacPolicy, service: Service, request: Session | Call, caller: AccessClaims
) -> list[str]:
    """A line for each limit of which the call needs a permit."""
    tools = policy.limits_at(service).tools
    charges = (*charges_of(service, policy, caller), *tool_charges_of(service, tools, caller, request))
    return [f"limit: {charge.limit.name}: {charge.limit.allowance}" for charge in charges]


def _requirement_in_words(service: Service, required: RequiredPermissions) -> str:
    if required.unmet and not required.permissions:
        return "no permission is enough: the arguments open no way"
    if not required.permissions:
        return f"no permission is enough: {service.name} has no rule for this request and no `otherwise`"
    joined = (" or " if required.any_is_enough else " and ").join(required.permissions)
    return f"needs {joined}"
