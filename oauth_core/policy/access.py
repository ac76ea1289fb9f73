"""Whether a genuine token gives the right to what a request asks: the policy's permissions and the token's scopes.

Both must say yes, at every check. The answer tells a caller that could get the right by a new consent from one
that cannot, and for the first what to ask for.
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
from oauth_core.policy.tool_rules import entry_of, need_of

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.mcp_request import Call, Session
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.tool_rules import Need


@dataclass(frozen=True, slots=True)
class Rights:
    """What one token may do under one policy."""

    scopes: frozenset[str]
    permissions: Permissions


class Judgement(Enum):
    """A yes, or the no that no consent can change."""

    GRANTED = "granted"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Lacking:
    """The policy allows it and the token does not: `scopes` are what a new one must have, old ones included."""

    scopes: tuple[str, ...]


def rights_of(policy: RbacPolicy, claims: AccessClaims) -> Rights:
    """The rights of the token with these claims."""
    permissions = (
        UNLIMITED
        if claims.github_user is None
        else policy.permissions_of(claims.github_user, claims.github_id, claims.groups)
    )
    return Rights(_words(claims.scope), permissions)


def judge_entry(service: Service, rights: Rights) -> Judgement | Lacking:
    """Whether `rights` are enough at `service` where no rule speaks of the request.

    Where the service has rules: whether they are enough for any request there.
    """
    return _weigh(entry_of(service), service, rights)


def judge(
    service: Service,
    rights: Rights,
    asked: Session | Call | CallFault | None,
    *,
    entry: Judgement | Lacking | None = None,
) -> Judgement | Lacking | CallFault:
    """Whether `rights` are enough at `service` for what is `asked`, which matters only where the service has
    rules.

    `entry` is what `judge_entry` says of the two, where that is known already.
    """
    if service.rules is None:
        return entry or judge_entry(service, rights)
    if asked is None or isinstance(asked, CallFault):
        # What a better body cannot mend is said first, as where the headers are checked before it.
        entry = entry or judge_entry(service, rights)
        return (asked or CallFault.MISSING) if entry is Judgement.GRANTED else entry
    return _weigh(need_of(service, asked), service, rights)


def _weigh(need: Need, service: Service, rights: Rights) -> Judgement | Lacking:
    allowed = [name for name in need.permissions if rights.permissions.allows(name)]
    if not allowed or not (need.any_is_enough or len(allowed) == len(need.permissions)):
        return Judgement.FORBIDDEN
    consented = [name for name in allowed if implies(rights.scopes, name)]
    if len(consented) == len(allowed) or (need.any_is_enough and consented):
        return Judgement.GRANTED
    if need.any_is_enough:
        # What the service's metadata names is asked for, where that will do for this user.
        usual = frozenset({service.scope})
        enough = service.scope if any(implies(usual, name) for name in allowed) else allowed[0]
        return Lacking(_kept(service, rights, (enough,)))
    return Lacking(_kept(service, rights, tuple(name for name in allowed if name not in consented)))


def _kept(service: Service, rights: Rights, missing: tuple[str, ...]) -> tuple[str, ...]:
    """`missing` and the scopes of this service that the token has: clients ask for exactly what they are told."""
    has = [scope for scope in of_service(service) if scope in rights.scopes]
    # A bundle that is missing stands for those below it, so that these need not be asked for again.
    return tuple(
        scope
        for scope in dict.fromkeys((*has, *missing))
        if not any(above in missing for above in implied_by(scope)[1:])
    )


@lru_cache(maxsize=4096)
def _words(scope: str) -> frozenset[str]:
    return frozenset(word for word in scope.split(" ") if word)
