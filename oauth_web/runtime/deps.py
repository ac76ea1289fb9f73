"""Builds all dependencies of the handlers in one place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2
import structlog

from oauth_core.crypto.credentials import new_identifier
from oauth_core.policy.resources import ServiceIndex
from oauth_core.process.audit_output import AuditOutput, DurableRecorder, open_output
from oauth_core.refusals import OAuthReason
from oauth_core.store.clock import RedisClock
from oauth_core.store.connection import connect
from oauth_core.store.maintenance.schema import SchemaStore
from oauth_core.store.memory import MemoryReader
from oauth_core.store.records.assertions import AssertionStore
from oauth_core.store.records.authorization_codes import AuthorizationCodeStore
from oauth_core.store.records.authorizations import AuthorizationStore
from oauth_core.store.records.client_documents import DocumentStore
from oauth_core.store.records.consents import ConsentStore
from oauth_core.store.records.contacts import ContactStore
from oauth_core.store.records.devices import DeviceStore
from oauth_core.store.records.disabled_services import DisabledServiceStore
from oauth_core.store.records.grants import GrantStore
from oauth_core.store.records.initial_access_tokens import InitialAccessTokenStore
from oauth_core.store.records.key_ring import KeyRingStore
from oauth_core.store.records.leases import LeaseStore
from oauth_core.store.records.mail_queue import MailQueue
from oauth_core.store.records.notices import NoticeStore
from oauth_core.store.records.quotas import QuotaStore
from oauth_core.store.records.rate_limits import RateLimitStore
from oauth_core.store.records.repeated_answers import AnswerStore
from oauth_core.store.records.revocation import Revocation
from oauth_core.store.records.sessions import SessionStore
from oauth_core.store.records.sign_in_pause import SignInPauseStore
from oauth_core.store.records.users import UserStore
from oauth_web.client_documents import ClientDocuments
from oauth_web.client_documents.client_directory import ClientDirectory
from oauth_web.client_documents.trusted_issuers import TrustedIssuers
from oauth_web.http.client_addresses import origin
from oauth_web.http.graceful_shutdown import GracefulShutdown
from oauth_web.http.request_times import request_times
from oauth_web.login_providers.github import GitHub
from oauth_web.runtime.assertion_keys import AssertionKeys
from oauth_web.runtime.key_ring import FollowedKeyRing, MaintainedStores
from oauth_web.runtime.live_policy import LivePolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

    from oauth_core.errors import StoreUnavailableError
    from oauth_core.flows.notices import Notice
    from oauth_core.grant_types import GrantType
    from oauth_core.process.metrics import Histogram
    from oauth_core.settings import WebSettings


WRITER = "oauth_web"
"""The writer of this program in the audit record."""


@dataclass(frozen=True)
class Deps:
    """The dependencies of the endpoints. `clock` returns whole seconds since the epoch, equal in all processes."""

    settings: WebSettings
    redis: Redis
    services: ServiceIndex
    grant_types: tuple[GrantType, ...]
    """The grant types that this gateway offers."""
    policy: LivePolicy
    clients: ClientDirectory
    documents: ClientDocuments
    trusted_issuers: TrustedIssuers
    assertion_keys: AssertionKeys | None
    answers: AnswerStore
    assertions: AssertionStore
    authorizations: AuthorizationStore
    codes: AuthorizationCodeStore
    consents: ConsentStore
    devices: DeviceStore
    grants: GrantStore
    sessions: SessionStore
    initial_access_tokens: InitialAccessTokenStore
    leases: LeaseStore
    memory: MemoryReader
    contacts: ContactStore
    mails: MailQueue
    notices: NoticeStore
    quotas: QuotaStore
    pauses: SignInPauseStore
    rates: RateLimitStore
    revocation: Revocation
    schema: SchemaStore
    users: UserStore
    keys: FollowedKeyRing
    github: GitHub
    output: AuditOutput
    audit: DurableRecorder
    clock: RedisClock
    shutdown: GracefulShutdown
    request_times: Histogram

    async def aclose(self) -> None:
        """Close the connections, and the audit record also if a connection cannot be closed."""
        try:
            await self.keys.stop()
            await self.clock.stop()
            await self.github.aclose()
            await self.documents.aclose()
            await self.redis.aclose()
        finally:
            await asyncio.to_thread(self.output.close)


def _log_clock_difference(ahead: float) -> None:
    structlog.get_logger("clock").warning("clock differs from Redis'", seconds_ahead=round(ahead, 1))


def _log_unreadable_memory() -> None:
    structlog.get_logger("memory").warning(
        "cannot see how full Redis is", reason="its user may not use INFO", see="docs/redis.md"
    )


def _log_lost_notice(notice: Notice, error: StoreUnavailableError) -> None:
    structlog.get_logger("notices").warning("notice.lost", kind=notice.kind.value, reason=str(error))


async def wire(settings: WebSettings, grant_types: Sequence[GrantType], output: AuditOutput | None = None) -> Deps:
    """Build the dependencies. `grant_types` are all existing ones (`oauth_web.grants.catalog`).

    `output` is the audit sink, which the dependencies close in the end; without one it is opened here.
    Raises `SettingsError`, `StoreUnavailableError`, `oauth_core.store.records.key_ring.KeyRingError` and
    `oauth_core.store.maintenance.schema.SchemaError`.
    """
    redis = connect(settings)
    clock = RedisClock(redis, differs=_log_clock_difference)
    leases = LeaseStore(redis, holder=new_identifier())
    document_store = DocumentStore(redis, settings.record_key, lifetime=settings.unused_client_lifetime)
    # One context for the process: reading the bundle of authorities takes tens of milliseconds each time.
    tls = httpx2.create_ssl_context()
    rates, memory = RateLimitStore(redis), MemoryReader(redis, refused=_log_unreadable_memory)
    output = output or open_output(settings, WRITER)
    audit = DurableRecorder(output, origin=origin)
    audit.policy_version = settings.policy_version
    quotas = QuotaStore(
        redis,
        memory,
        bytes_of=settings.quotas,
        reserve=settings.redis_reserve_percent / 100,
        refused=lambda kind: audit.record(OAuthReason.NO_ROOM.event, reason=f"{kind}_megabytes"),
    )
    documents = ClientDocuments.from_settings(
        settings, document_store, rates, quotas, audit, grant_types=grant_types, tls=tls, clock=clock
    )
    try:
        await clock.look()
        trusted_issuers = TrustedIssuers.from_settings(settings, documents)
        assertion_keys = AssertionKeys.from_file(settings.assertion_public_keys)
        key_store = KeyRingStore(redis, master_key=settings.master_key_bytes)
        await SchemaStore(redis).migrate(leases, key_store)
        ring = await key_store.open(settings.signing_algorithm, now=clock())
    except BaseException:
        await redis.aclose()
        raise
    grants = GrantStore(
        redis,
        settings.record_key,
        client_lifetime=settings.client_lifetime,
        backup_days=settings.backup_days,
    )
    contacts = ContactStore(redis, settings.record_key)
    mails = MailQueue(redis, settings.record_key, contacts, rates, settings.rate_of)
    services = ServiceIndex(settings.resolved_services)
    pauses = SignInPauseStore(redis)
    return Deps(
        settings=settings,
        redis=redis,
        services=services,
        grant_types=tuple(each for each in grant_types if each.is_offered(settings)),
        policy=LivePolicy(settings.policy, services),
        clients=ClientDirectory(
            redis,
            settings.record_key,
            documents,
            on_refusal=lambda client_id: audit.record(OAuthReason.CLIENT_DISABLED.event, client_id=client_id),
        ),
        documents=documents,
        trusted_issuers=trusted_issuers,
        assertion_keys=assertion_keys,
        answers=AnswerStore(redis),
        assertions=AssertionStore(redis, quotas),
        authorizations=AuthorizationStore(redis, settings.record_key, quotas, lifetime=settings.session_timeout),
        codes=AuthorizationCodeStore(redis, settings.record_key),
        consents=ConsentStore(redis, settings.record_key),
        devices=DeviceStore(redis, settings.record_key, quotas),
        sessions=SessionStore(redis, settings.record_key, idle=settings.session_idle_lifetime),
        grants=grants,
        initial_access_tokens=InitialAccessTokenStore(redis, settings.record_key),
        memory=memory,
        contacts=contacts,
        mails=mails,
        notices=NoticeStore(redis, settings.record_key, mails=mails, lost=_log_lost_notice),
        quotas=quotas,
        rates=rates,
        leases=leases,
        pauses=pauses,
        revocation=Revocation(redis, grants),
        schema=SchemaStore(redis),
        users=UserStore(redis, settings.record_key, lifetime=settings.refresh_token_lifetime),
        keys=FollowedKeyRing(
            key_store, ring, MaintainedStores(pauses, SchemaStore(redis), DisabledServiceStore(redis))
        ),
        github=GitHub.from_settings(settings, tls),
        output=output,
        audit=audit,
        clock=clock,
        shutdown=GracefulShutdown(seconds=settings.web_drain_seconds),
        request_times=request_times(),
    )
