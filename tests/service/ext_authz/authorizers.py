"""An authorizer without a transport, and stand-ins for everything that it asks and records to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ext_authz.decision.check import Authorizer
from ext_authz.decision.key_cache import KeyCache
from ext_authz.decision.resolver import ContextResolver, TokenStatusSource
from ext_authz.decision.verified_token_cache import VerifiedTokenCache
from oauth_core.model import Service
from oauth_core.policy.decision import Isolated, ServiceStatus, TokenStatus
from oauth_core.policy.rbac import RbacPolicy
from oauth_core.policy.resources import ServiceIndex
from tests.support.master_key import SIGNER, published
from tests.support.tokens import ISSUER, TIME

if TYPE_CHECKING:
    from collections.abc import Callable

    from ext_authz.decision.fair_queue import FairQueue
    from oauth_core.audit import AuditEvent
    from oauth_core.jose.signing_keys import SigningKey

SERVICE = Service("time", "Time", TIME, "http://127.0.0.1:1/mcp", "mcp.time")


class Recorder:
    """Keeps events in a list."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


class BrokenRecorder:
    """A sink that breaks its promise never to raise."""

    def record(self, event: AuditEvent) -> None:  # noqa: ARG002
        raise OSError("disk full")


class Said:
    """Knows one thing about every token, or breaks, and counts how often it was asked."""

    def __init__(self, answer: TokenStatus | Exception = TokenStatus.ACTIVE) -> None:
        self.answer = answer
        self.asked = 0

    def known(self, jti: str) -> TokenStatus | None:
        """Nothing: it wants to be asked."""

    async def of(self, jti: str) -> TokenStatus:  # noqa: ARG002
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class AllOpen:
    """Services of which none is isolated, until one is."""

    said: ServiceStatus | Isolated = ServiceStatus.OPEN

    def of(self, service: str) -> ServiceStatus | Isolated:  # noqa: ARG002
        return self.said


class Published:
    """A published key."""

    def __init__(self, key: SigningKey) -> None:
        self.document = published(key)

    async def read(self) -> str:
        return self.document


async def authorizer(
    key: SigningKey,
    sink: Recorder | BrokenRecorder,
    liveness: TokenStatusSource | None = None,
    clock: Callable[[], int] = lambda: int(time.time()),
    isolated: AllOpen | None = None,
    *,
    fair_queue: FairQueue | None = None,
) -> Authorizer:
    """An authorizer for `SERVICE`, which trusts `key` and records to `sink`."""
    keys = KeyCache(Published(key), SIGNER.verifier)
    await keys.read()
    resolver = ContextResolver(
        services=ServiceIndex([SERVICE]),
        policy=RbacPolicy.of((), [SERVICE]),
        keys=keys,
        tokens=VerifiedTokenCache(issuer=ISSUER, size=100),
        token_status=liveness or Said(),
        service_status=isolated or AllOpen(),
        clock=clock,
        fair_queue=fair_queue,
    )
    return Authorizer(resolver, sink)


class Remembers(Said):
    """Knows every token without being asked."""

    def known(self, jti: str) -> TokenStatus:  # noqa: ARG002
        return TokenStatus.ACTIVE
