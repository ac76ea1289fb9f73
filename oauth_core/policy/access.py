"""Whether a genuine token permits what a request asks: by the policy's permissions and by the token's scopes.

Both must permit it, at every check. For a refusal, the answer tells apart a caller that could get the right by a
new consent and one that cannot; the first learns which scopes to request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING

from oauth_core.policy.mcp_request import Call, CallFault
from oauth_core.policy.permissions import Permissions, implied_by, implies
from oauth_core.policy.rbac import UNLIMITED
from oauth_core.policy.scopes import of_service
from oauth_core.policy.tool_rules import RequiredPermissions, required_for, required_for_entry, required_for_tool

if TYPE_CHECKING:
    from collections.abc import Set

    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.mcp_request import Session
    from oauth_core.policy.rbac import RbacPolicy

_MOST_WAYS_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Rights:
    """The rights of one token under one policy."""

    scopes: frozenset[str]
    permissions: Permissions


class AccessResult(Enum):
    """The request is allowed, or refused in a way that no consent can change."""

    GRANTED = "granted"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class MissingScopes:
    """The policy allows it and the token does not: a new token needs these `scopes`, old ones included."""

    scopes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnmetArguments:
    """A permission of the caller would allow the call with other arguments. `text` describes what they must be.

    `is_ambiguous` is true if programs could read the arguments differently.
    """

    text: str
    is_ambiguous: bool


def rights_of(policy: RbacPolicy, claims: AccessClaims) -> Rights:
    """The rights of the token with these claims."""
    permissions = (
        UNLIMITED
        if claims.github_user is None
        else policy.permissions_of(claims.github_user, claims.github_id, claims.groups)
    )
    return Rights(_words(claims.scope), permissions)


def evaluate_entry(service: Service, rights: Rights) -> AccessResult | MissingScopes:
    """Whether `rights` are enough at `service` for a request that no rule matches.

    Where the service has rules: whether they are enough for any request there.
    """
    return _evaluate_requirement(required_for_entry(service), service, rights)


def held_permissions(service: Service, rights: Rights) -> frozenset[str]:
    """The permissions of `service` that both the policy and the scopes of the token give."""
    return _held(service.permissions, rights)


@lru_cache(maxsize=4096)
def _held(permissions: tuple[str, ...], rights: Rights) -> frozenset[str]:
    # Cached, so that tokens with the same rights share one set.
    return frozenset(
        name for name in permissions if rights.permissions.allows(name) and implies(rights.scopes, name)
    )


def is_enough(required: RequiredPermissions, held: Set[str]) -> bool:
    """Whether the permissions `held` (`held_permissions`) are enough: the same as `evaluate` decides."""
    if required.any_is_enough:
        return not held.isdisjoint(required.permissions)
    if not all(map(held.__contains__, required.permissions)):
        return False
    if not required.choices:
        return bool(required.permissions)
    return all(any(all(map(held.__contains__, names)) for names in sets) for sets in required.choices)


def evaluate(
    service: Service,
    rights: Rights,
    request: Session | Call | CallFault | None,
    *,
    entry: AccessResult | MissingScopes | None = None,
    held: frozenset[str] | None = None,
) -> AccessResult | MissingScopes | UnmetArguments | CallFault:
    """Whether `rights` are enough at `service` for `request`, which matters only if the service has rules.

    `entry` and `held` are the results of `evaluate_entry` and `held_permissions` for the two, if they are known.
    """
    if service.rules is None:
        return entry or evaluate_entry(service, rights)
    if request is None or isinstance(request, CallFault):
        # A fault that a better body cannot repair comes first, as in a check of the headers before the body.
        entry = entry or evaluate_entry(service, rights)
        return (request or CallFault.MISSING) if entry is AccessResult.GRANTED else entry
    if held:
        needed = required_for_tool(service.rules, request) if isinstance(request, Call) else ()
        if needed and held.issuperset(needed):
            return AccessResult.GRANTED
    required = required_for(service, request)
    if held and is_enough(required, held):
        return AccessResult.GRANTED
    result = _evaluate_requirement(chosen(required, rights), service, rights)
    return _evaluate_unmet(required, rights) if result is AccessResult.FORBIDDEN and required.unmet else result


def _evaluate_unmet(required: RequiredPermissions, rights: Rights) -> AccessResult | UnmetArguments:
    """The refusal of arguments: it describes only ways that the policy opens to this caller."""
    found = [
        (fault, way.explanation)
        for way, fault in required.unmet
        if all(map(rights.permissions.allows, way.permissions))
    ]
    texts = [f"{fault.text} ({explanation})" if explanation else fault.text for fault, explanation in found]
    if not texts:
        return AccessResult.FORBIDDEN
    text = "; or ".join(tuple(dict.fromkeys(texts))[:_MOST_WAYS_SHOWN])
    return UnmetArguments(text, is_ambiguous=any(fault.is_ambiguous for fault, _ in found))


def chosen(required: RequiredPermissions, rights: Rights) -> RequiredPermissions:
    """The requirement with the set of each choice that these rights cover best."""
    if not required.choices:
        return required
    best = [max(sets, key=lambda names: _coverage(names, rights)) for sets in required.choices]
    return RequiredPermissions(tuple(dict.fromkeys((*required.permissions, *chain(*best)))))


def _coverage(names: tuple[str, ...], rights: Rights) -> tuple[bool, bool]:
    """Whether the policy allows all of `names`, and whether the token has them too."""
    allowed = all(map(rights.permissions.allows, names))
    return allowed, allowed and all(implies(rights.scopes, name) for name in names)


def _evaluate_requirement(
    required: RequiredPermissions, service: Service, rights: Rights
) -> AccessResult | MissingScopes:
    allowed = [name for name in required.permissions if rights.permissions.allows(name)]
    if not allowed or not (required.any_is_enough or len(allowed) == len(required.permissions)):
        return AccessResult.FORBIDDEN
    consented = [name for name in allowed if implies(rights.scopes, name)]
    if len(consented) == len(allowed) or (required.any_is_enough and consented):
        return AccessResult.GRANTED
    if required.any_is_enough:
        # Request the scope in the service's metadata, if it is enough for this user.
        usual = frozenset({service.scope})
        enough = service.scope if any(implies(usual, name) for name in allowed) else allowed[0]
        return MissingScopes(_with_present_scopes(service, rights, (enough,)))
    return MissingScopes(
        _with_present_scopes(service, rights, tuple(name for name in allowed if name not in consented))
    )


def _with_present_scopes(service: Service, rights: Rights, missing: tuple[str, ...]) -> tuple[str, ...]:
    """`missing` and the scopes of this service that the token has: clients request exactly what they receive."""
    has = [scope for scope in of_service(service) if scope in rights.scopes]
    # A missing bundle implies those below it, so that these need not be requested again.
    return tuple(
        scope
        for scope in dict.fromkeys((*has, *missing))
        if not any(above in missing for above in implied_by(scope)[1:])
    )


@lru_cache(maxsize=4096)
def _words(scope: str) -> frozenset[str]:
    return frozenset(word for word in scope.split(" ") if word)
