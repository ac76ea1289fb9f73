"""The permits that a call needs: by the limits of its service, of its person's roles, and of the tool that it
calls.

A call needs a permit of each limit that applies. It passes only if it gets all of them, and uses none otherwise.
Of the tool limits whose pattern matches, the most exact rate and the most exact quota apply, as with tool rules. A
quota for one tool does not lift the rate of all tools.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.limits.call_limits import Charge, LimitKind, charges_for
from oauth_core.policy.globs import glob_matches, is_within
from oauth_core.policy.mcp_request import Call, NameKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oauth_core.limits.call_limits import ToolLimit
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.mcp_request import CallFault, Session
    from oauth_core.policy.rbac import RbacPolicy


def charges_of(service: Service, policy: RbacPolicy, claims: AccessClaims) -> tuple[Charge, ...]:
    """The permits that every call to `service` needs with a token of these claims."""
    found = charges_for(
        LimitKind.SERVICE,
        f"service {service.name}",
        policy.limits_at(service).all_calls,
        claims.sub,
        claims.client_id,
    )
    if claims.github_user is not None:
        for role, limits in policy.limits_of(claims.github_user, claims.github_id, claims.groups):
            found += charges_for(LimitKind.ROLE, f"role {role}", limits, claims.sub, claims.client_id)
    return tuple(found)


def tool_charges_of(
    service: Service,
    limits: Sequence[ToolLimit],
    claims: AccessClaims,
    request: Session | Call | CallFault | None,
) -> tuple[Charge, ...]:
    """The permits that `request` needs in addition, by the `limits` of tools at `service`."""
    if not limits or not isinstance(request, Call) or request.kind is not NameKind.TOOL or request.name is None:
        return ()
    return tuple(
        charge
        for limit in _most_exact(limits, request.name)
        for charge in charges_for(
            LimitKind.TOOL,
            f"tool {limit.pattern} of service {service.name}",
            limit.limits,
            claims.sub,
            claims.client_id,
        )
    )


def _most_exact(limits: Sequence[ToolLimit], name: str) -> list[ToolLimit]:
    """The matching limits for `name`, without each rate and each quota that a more exact one replaces."""
    matching = [limit for limit in limits if glob_matches(limit.pattern, name)]
    if len(matching) == 1:
        return matching
    return [
        replace(
            limit,
            limits=limit.limits.replaced_by(
                [other.limits for other in matching if is_within(other.pattern, limit.pattern)]
            ),
        )
        for limit in matching
    ]
