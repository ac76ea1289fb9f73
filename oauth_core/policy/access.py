"""Whether a genuine token permits what a request asks: by the policy's permissions and by the token's scopes.

Both must permit it, at every check. For a refusal, the answer tells apart a caller that could get the right by a
new consent and one that cannot; the first learns which scopes to request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from oauth_core.policy.mcp_request import CallFault
from oauth_core.policy.permissions import Permissions, implied_by, implies
from oauth_core.policy.rbac import UNLIMITED
from oauth_core.policy.scopes import of_service
from oauth_core.policy.tool_rules import required_for, required_for_entry

if TYPE_CHECKING:
    from collections.abc import Set

    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.mcp_request import Call, Session
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.tool_rules import RequiredPermissions


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
    return bool(required.permissions) and all(map(held.__contains__, required.permissions))


def evaluate(
    service: Service,
    rights: Rights,
    request: Session | Call | CallFault | None,
    *,
    entry: AccessResult | MissingScopes | None = None,
    held: frozenset[str] | None = None,
) -> AccessResult | MissingScopes | CallFault:
    """Whether `rights` are enough at `service` for `request`, which matters only if the service has rules.

    `entry` and `held` are the results of `evaluate_entry` and `held_permissions` for the two, if they are known.
    """
    if service.rules is None:
        return entry or evaluate_entry(service, rights)
    if request is None or isinstance(request, CallFault):
        # A fault that a better body cannot repair comes first, as in a check of the headers before the body.
        entry = entry or evaluate_entry(service, rights)
        return (request or CallFault.MISSING) if entry is AccessResult.GRANTED else entry
    required = required_for(service, request)
    if held and is_enough(required, held):
        return AccessResult.GRANTED
    return _evaluate_requirement(required, service, rights)


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
