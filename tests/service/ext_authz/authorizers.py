"""An authorizer without a transport, and stand-ins for all that it asks and records to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ext_authz.decision.check import Authorizer
from ext_authz.decision.key_cache import KeyCache
from ext_authz.decision.resolver import ContextResolver, TokenStatusSource
from ext_authz.decision.verified_token_cache import VerifiedTokenCache
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.model import Service
from oauth_core.policy.decision import Disabled, ServiceStatus, TokenStatus
from oauth_core.policy.rbac import RbacPolicy
from oauth_core.policy.resources import ServiceIndex
from oauth_core.policy.session_binding import SessionSealer
from tests.support.master_key import SIGNER, published
from tests.support.tokens import ISSUER, TIME

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from ext_authz.decision.call_permits import CallPermits
    from ext_authz.decision.fair_queue import FairQueue
    from oauth_core.jose.signing_keys import SigningKey

SEALER = SessionSealer(bytes(range(32)))
SERVICE = Service("time", "Time", TIME, "http://127.0.0.1:1/mcp", "mcp.time")
ALLOWED = AuditEvent(
    kind=EventKind.ACCESS_ALLOWED,
    client_id="client-1",
    user="octocat",
    user_id=583231,
    provider="github",
    service="time",
    jti="jti-1",
    method="POST",
    path="/time/mcp",
    source="203.0.113.7",
    request_id="request-1",
)
"""The event that is recorded when the usual token allows the usual request to `SERVICE`."""


class Recorder:
    """Keeps events in a list."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def record(self, event: AuditEvent) -> None:
        self.events.append(event)


class BrokenRecorder:
    """A sink that raises, although a sink must not."""

    def record(self, event: AuditEvent) -> None:  # noqa: ARG002
        raise OSError("disk full")


class FixedStatus:
    """Returns one status for every token, or raises, and keeps a list of the tokens that it was asked for."""

    def __init__(self, answer: TokenStatus | Exception = TokenStatus.ACTIVE) -> None:
        self.answer = answer
        self.asked: list[str] = []

    def cached_status(self, jti: str) -> TokenStatus | None:
        """Return nothing, so that the caller must ask."""

    async def token_status(self, jti: str) -> TokenStatus:
        self.asked.append(jti)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class CachedStatus(FixedStatus):
    """Has every token in memory. While there is a `held`, it answers once that is set."""

    held: asyncio.Event | None = None

    def cached_status(self, jti: str) -> TokenStatus | None:  # noqa: ARG002
        return None if self.held else TokenStatus.ACTIVE

    async def token_status(self, jti: str) -> TokenStatus:
        if self.held:
            await self.held.wait()
        return await super().token_status(jti)


class AllEnabled:
    """Services of which none is disabled, until one is."""

    said: ServiceStatus | Disabled = ServiceStatus.OPEN

    def service_status(self, service: str) -> ServiceStatus | Disabled:  # noqa: ARG002
        return self.said


class PublishedKey:
    """A published key."""

    def __init__(self, key: SigningKey) -> None:
        self.document = published(key)

    async def read(self) -> str:
        return self.document


async def authorizer(
    key: SigningKey,
    sink: Recorder | BrokenRecorder,
    token_status: TokenStatusSource | None = None,
    clock: Callable[[], int] = lambda: int(time.time()),
    service_status: AllEnabled | None = None,
    *,
    service: Service = SERVICE,
    policy: RbacPolicy | None = None,
    fair_queue: FairQueue | None = None,
    permits: CallPermits | None = None,
) -> Authorizer:
    """An authorizer for `service`, which trusts `key` and records to `sink`."""
    keys = KeyCache(PublishedKey(key), SIGNER.verifier)
    await keys.read()
    resolver = ContextResolver(
        services=ServiceIndex([service]),
        policy=policy or RbacPolicy.from_roles((), [service]),
        keys=keys,
        tokens=VerifiedTokenCache(issuer=ISSUER, size=100),
        token_status=token_status or FixedStatus(),
        service_status=service_status or AllEnabled(),
        clock=clock,
        fair_queue=fair_queue,
        session_sealer=SEALER,
    )
    return Authorizer(resolver, sink, permits=permits)
