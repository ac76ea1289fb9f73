"""A service with tool rules, and an authorizer in front of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.model import NameRule, ToolRules
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.rbac import RbacPolicy, Role
from tests.service.ext_authz.authorizers import SERVICE, CachedStatus, Recorder, authorizer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from ext_authz.decision.check import Authorizer
    from oauth_core.jose.signing_keys import SigningKey
    from oauth_core.model import Service

READ, WRITE = "mcp.time.read", "mcp.time.write"
RULED = replace(
    SERVICE,
    named_permissions=(READ, WRITE),
    rules=ToolRules(tools=(NameRule("get_*", (READ,)), NameRule("*", (WRITE,)))),
)
JSON = {"content-type": "application/json"}


def policy_of(*permissions: str, user: str = "octocat") -> RbacPolicy:
    """A policy in which only `user` has permissions: these ones."""
    role = Role("r", Permissions(frozenset(permissions)), users=frozenset({user}))
    return RbacPolicy.from_roles((role,), (RULED,))


async def subject(
    key: SigningKey, service: Service, policy: RbacPolicy, token_status: CachedStatus | None = None
) -> tuple[Authorizer, Recorder]:
    """An authorizer for `service` under `policy`, at a fixed time, and the events that it records."""
    sink = Recorder()
    return await authorizer(
        key, sink, token_status or CachedStatus(), clock=lambda: 1_800_000_000, service=service, policy=policy
    ), sink


def token(key: SigningKey, scope: str = "mcp.time") -> str:
    """A token with this scope, valid at the time of `subject`."""
    return mint(key, scope=scope, iat=1_799_999_990, exp=1_800_000_100)
