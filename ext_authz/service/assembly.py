"""Assembles a check service: Redis, the client cache, the keys, the resolver, the access log.

A transport uses it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Never

import structlog

from ext_authz.answers.answer_filter import AnswerFilter
from ext_authz.decision.access_log import AccessLog
from ext_authz.decision.allow_response import AllowResponses
from ext_authz.decision.call_permits import CallPermits
from ext_authz.decision.check import Authorizer, Unrecorded
from ext_authz.decision.disabled_services import DisabledServices
from ext_authz.decision.envoy_messages import Names
from ext_authz.decision.envoy_refusals import EnvoyRefusals
from ext_authz.decision.fair_queue import FairQueue
from ext_authz.decision.key_cache import KeyCache
from ext_authz.decision.resolver import MOST_WAITING, ContextResolver
from ext_authz.decision.verified_token_cache import VerifiedTokenCache
from ext_authz.metrics.meter import Meter, Unmetered
from oauth_core.audit import AuditRecorder
from oauth_core.errors import SettingsError
from oauth_core.jose.jwk_set_signature import KeySetVerifier
from oauth_core.policy.resources import ServiceIndex
from oauth_core.process import audit_figures
from oauth_core.process.logs import audit_stream
from oauth_core.process.metrics import Figures, labelled
from oauth_core.process.settings_watcher import SettingsWatcher
from oauth_core.settings import AuthzSettings
from oauth_core.store.client_cache.client_cache import ClientCache
from oauth_core.store.clock import unsleeping_clock
from oauth_core.store.connection import redis_topology
from oauth_core.store.records.call_permits import CallPermitStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from oauth_core.process.audit_output import AuditOutput


@dataclass(frozen=True, slots=True)
class CheckService:
    """A check service without a transport.

    `failed` is done when a background task has failed, which must end the process: its exception has the reason.
    """

    authorizer: Authorizer
    keys: KeyCache
    client_cache: ClientCache
    tokens: VerifiedTokenCache
    fair_queue: FairQueue
    permits: CallPermits
    meter: Meter
    audit: AuditOutput
    envoy_refusals: EnvoyRefusals
    answers: AnswerFilter
    failed: asyncio.Future[list[Never]]

    def figures(self) -> Figures:
        """Return the counts so far, and the present state."""
        counts = self.client_cache.counts
        of_audit: Figures = {}
        if self.audit.segments is not None:
            of_audit[audit_figures.AVAILABLE.name] = int(self.audit.is_available)
        return {
            **of_audit,
            **self.meter.figures(),
            **self.permits.figures(),
            labelled("portcullis_signatures_total", result="good"): self.tokens.verified,
            labelled("portcullis_signatures_total", result="bad"): self.tokens.rejected,
            "portcullis_signatures_waiting": self.fair_queue.waiting,
            "portcullis_cached_tokens": len(self.tokens),
            "portcullis_redis_lookups_total": counts.misses,
            "portcullis_redis_lookups_shared_total": counts.shared,
            "portcullis_redis_lookups_refused_total": counts.refused,
            "portcullis_redis_lookups_waiting": self.client_cache.waiting,
            "portcullis_invalidations_total": counts.invalidations,
            "portcullis_tracking_connections_total": counts.connections,
            "portcullis_tracking_connection_up": int(self.client_cache.is_connected),
            "portcullis_staleness_seconds": self.client_cache.staleness,
            "portcullis_keys_fresh": int(self.keys.is_fresh),
        }


@asynccontextmanager
async def assemble(
    settings: AuthzSettings,
    audit: AuditOutput,
    report: Callable[[bool], Awaitable[None]],
    environ: Mapping[str, str],
) -> AsyncIterator[CheckService]:
    """Yield a check service that keeps itself current inside the block, in the running loop.

    `report` is called repeatedly with whether it can decide. The settings file that `environ` names is watched,
    and its policy is always the present one. Raises `SettingsError` for an invalid address of Redis.
    """
    try:
        servers = redis_topology(settings, bound=settings.revocation_bound, clock=unsleeping_clock)
    except ValueError:
        # Without the message: it may repeat the address, which may contain a password.
        raise SettingsError(["redis.url: is not the address of a Redis server"]) from None
    client_cache = ClientCache(
        servers,
        timeout=settings.redis_timeout,
        bound=settings.revocation_bound,
        size=settings.cached_tokens,
        concurrent=settings.concurrent_reads,
        report=_log_connection,
    )
    store = CallPermitStore(
        servers, timeout=min(settings.redis_timeout, settings.revocation_bound), clock=unsleeping_clock
    )
    permits = CallPermits(
        store if settings.limit_scope == "shared" else None, steady=unsleeping_clock, wall=time.time
    )
    verifier = KeySetVerifier(settings.jwks_verification_key)
    keys = KeyCache(client_cache.published_keys, verifier, changed=client_cache.published_keys.changed)
    disabled_services = DisabledServices(client_cache.disabled_services, bound=settings.revocation_bound)
    tokens = VerifiedTokenCache(issuer=settings.issuer, size=settings.cached_tokens)
    fair_queue = FairQueue(MOST_WAITING)
    resolver = ContextResolver(
        services=ServiceIndex(settings.resolved_services),
        policy=settings.policy,
        keys=keys,
        tokens=tokens,
        token_status=client_cache,
        service_status=disabled_services,
        clock=lambda: int(time.time()),
        fair_queue=fair_queue,
        session_sealer=settings.session_sealer,
    )
    stream = None if audit.text is None else audit_stream()
    log = AccessLog(audit, stream, program="ext_authz", segments=audit.segments)
    log.use(settings.policy_version)
    responses = AllowResponses(
        Names(settings.identity_headers, trusted_proxies=settings.trusted_proxies),
        stream_seconds=settings.stream_seconds,
        call_seconds=settings.call_seconds,
        signer=settings.assertion_signer,
    )
    allowed = Unrecorded() if settings.audit_allowed == "none" else log
    meter = Meter() if settings.metrics_listen else Unmetered()
    waits = audit.segments is not None and settings.audit_durability == "answer" and allowed is log
    authorizer = Authorizer(
        resolver,
        log,
        allowed,
        responses,
        meter,
        permits=permits,
        durable=audit.flushed if waits else None,
        policy_version=settings.policy_version,
    )

    refusals = EnvoyRefusals(AuditRecorder(log))
    answers = AnswerFilter(ServiceIndex(settings.resolved_services), AuditRecorder(log), settings.session_sealer)

    def use(fresh: AuthzSettings) -> None:
        authorizer.use(ServiceIndex(fresh.resolved_services), fresh.policy, fresh.policy_version)
        answers.use(ServiceIndex(fresh.resolved_services))
        log.use(fresh.policy_version)

    policy_file = SettingsWatcher(AuthzSettings, environ, settings, AuditRecorder(audit))

    async def report_state(are_keys_fresh: bool) -> None:  # noqa: FBT001 - its only argument
        # Until this is read too, every service is unknown.
        if are_keys_fresh and not disabled_services.is_known:
            await disabled_services.read()
        await report(are_keys_fresh and disabled_services.is_known)

    # These tasks never end: if one fails, old data would be trusted for ever.
    forever = (
        client_cache.maintain_connections(),
        keys.watch(report_state),
        disabled_services.watch(),
        policy_file.follow(use),
        permits.maintain(),
    )
    background = [asyncio.create_task(task) for task in forever]
    failed = asyncio.gather(*background)
    try:
        yield CheckService(
            authorizer, keys, client_cache, tokens, fair_queue, permits, meter, audit, refusals, answers, failed
        )
    finally:
        failed.cancel()
        # `failed` is awaited too: asyncio logs a result that is never retrieved as an error.
        await asyncio.gather(*background, failed, return_exceptions=True)
        await permits.close()
        await servers.aclose()
        authorizer.close()
        log.close()


def _log_connection(error: str | None) -> None:
    log = structlog.get_logger("client_cache")
    if error is None:
        log.info("client_cache.connected")
    else:
        # Until there is a connection again every check asks Redis, and is refused as unknown if Redis does not
        # answer.
        log.warning("client_cache.disconnected", error=error)
