"""A service with tool rules, and an authorizer in front of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ext_authz.decision.check import Authorizer
from ext_authz.decision.key_cache import KeyCache
from ext_authz.decision.resolver import ContextResolver
from ext_authz.decision.verified_token_cache import VerifiedTokenCache
from oauth_core.model import NameRule, ToolRules
from oauth_core.policy.decision import TokenStatus
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.rbac import RbacPolicy, Role
from oauth_core.policy.resources import ServiceIndex
from tests.service.ext_authz.authorizers import SERVICE, AllOpen, Published, Recorder
from tests.support.master_key import SIGNER
from tests.support.tokens import ISSUER, mint

if TYPE_CHECKING:
    import asyncio

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
    """A policy in which only `user` has permissions, namely these."""
    role = Role("r", Permissions(frozenset(permissions)), users=frozenset({user}))
    return RbacPolicy.of((role,), (RULED,))


class Slow:
    """Knows about tokens at once or, while `held`, only once it is let go."""

    def __init__(self) -> None:
        self.held: asyncio.Event | None = None

    def known(self, jti: str) -> TokenStatus | None:  # noqa: ARG002
        return None if self.held else TokenStatus.ACTIVE

    async def of(self, jti: str) -> TokenStatus:  # noqa: ARG002
        if self.held:
            await self.held.wait()
        return TokenStatus.ACTIVE


async def subject(
    key: SigningKey, service: Service, policy: RbacPolicy, liveness: Slow | None = None
) -> tuple[Authorizer, Recorder]:
    """An authorizer for `service` under `policy`, at a fixed time, and the events that it records."""
    keys = KeyCache(Published(key), SIGNER.verifier)
    await keys.read()
    resolver = ContextResolver(
        services=ServiceIndex([service]),
        policy=policy,
        keys=keys,
        tokens=VerifiedTokenCache(issuer=ISSUER, size=100),
        token_status=liveness or Slow(),
        service_status=AllOpen(),
        clock=lambda: 1_800_000_000,
    )
    sink = Recorder()
    return Authorizer(resolver, sink), sink


def token(key: SigningKey, scope: str = "mcp.time") -> str:
    """A token with this scope, good at the time of `subject`."""
    return mint(key, scope=scope, iat=1_799_999_990, exp=1_800_000_100)
