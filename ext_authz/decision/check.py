"""One check, from bytes to bytes: decode, gather facts, decide, encode, record. No transport, no look-ups here."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

import structlog

from ext_authz.decision import check_steps, envoy_messages
from ext_authz.decision.access_log import LONGEST_LOGGED
from ext_authz.decision.allow_response import AllowResponses
from ext_authz.metrics.meter import Meter
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.policy.decision import Allow, Deny, DenyReason, decide
from oauth_core.policy.jsonrpc import id_of, id_text
from oauth_core.policy.mcp_request import LISTEN, Call
from oauth_core.policy.refusals import refusal
from oauth_core.tokens.access_tokens import Verified

if TYPE_CHECKING:
    from ext_authz.decision.envoy_messages import IncomingRequest
    from ext_authz.decision.resolver import ContextResolver, Gathered
    from ext_authz.decision.verified_token_cache import CachedToken
    from oauth_core.audit import AuditSink
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.decision import DecisionContext
    from oauth_core.policy.jsonrpc import RequestId
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.resources import ServiceIndex


_STRANGERS_BYTES = 8192
"""Of a body: so much is read for the id to answer a caller with who shows no good token."""


class AllowedSink(Protocol):
    """Whoever keeps the record of allowed requests. If it raises, the request is refused."""

    def allowed(self, claims: AccessClaims, service: Service, request: IncomingRequest) -> None:
        """Record that `request` is let through to `service` as the one `claims` describe."""


class EventPerRequest:
    """Records an allowed request like any other event."""

    def __init__(self, audit: AuditSink) -> None:
        self._audit = audit

    def allowed(self, claims: AccessClaims, service: Service, request: IncomingRequest) -> None:
        """Record `access.allowed`."""
        self._audit.record(_event(EventKind.ACCESS_ALLOWED, None, claims, request, service))


class Unrecorded:
    """Keeps no record of allowed requests."""

    def allowed(self, claims: AccessClaims, service: Service, request: IncomingRequest) -> None:
        """Do nothing, as the operator asked."""


class Authorizer:
    """Answers `envoy.service.auth.v3.Authorization/Check`. Safe to call many times at once."""

    def __init__(
        self,
        facts: ContextResolver,
        audit: AuditSink,
        allowed: AllowedSink | None = None,
        permits: AllowResponses | None = None,
        meter: Meter | None = None,
    ) -> None:
        """Without `allowed`, allowed requests go to `audit` like the others."""
        self.meter = meter or Meter()
        self._facts = facts
        self._permits = permits or AllowResponses()
        self._audit = audit
        self._record_allowed = (allowed or EventPerRequest(audit)).allowed
        self._log = structlog.get_logger("check")
        self._refusals: dict[tuple[DenyReason, str | None, str | None], bytes] = {}
        self._broken = envoy_messages.encode_refused(
            refusal(DenyReason.INTERNAL_ERROR, None)
        ) + envoy_messages.encode_metadata(DenyReason.INTERNAL_ERROR, None, None)

    def use(self, services: ServiceIndex, policy: RbacPolicy) -> None:
        """From the next decision on, these services and this policy count."""
        self._facts.use(services, policy)
        self._refusals.clear()

    def check_now(self, message: bytes) -> bytes | None:
        """As `check`, if that needs to wait for nobody; `None` when it does, and nothing was recorded."""
        begun = perf_counter()
        try:
            request = envoy_messages.decode(message, self._permits.names)
            if request is None:
                return self._refuse(Deny(DenyReason.MALFORMED_REQUEST), None, None, begun)
            answer = self._repeat(request)
            if answer is not None:
                self.meter.allowed(begun)
                return answer
            gathered = self._facts.gather_now(request)
            return None if gathered is None else self._conclude(request, gathered, begun)
        except Exception:  # noqa: BLE001 - as in `check`
            return self._fail(begun)

    async def check(self, message: bytes) -> bytes:
        """The `CheckResponse` to the `CheckRequest` in `message`. Whatever is in it, there is an answer."""
        begun = perf_counter()
        self.meter.asked += 1
        try:
            request = envoy_messages.decode(message, self._permits.names)
            if request is None:
                return self._refuse(Deny(DenyReason.MALFORMED_REQUEST), None, None, begun)
            answer = self._repeat(request)
            if answer is not None:
                self.meter.allowed(begun)
                return answer
            return self._conclude(request, await self._facts.gather(request), begun)
        except Exception:  # noqa: BLE001 - the one place for it: a fault of ours must end in a refusal too
            return self._fail(begun)

    def _repeat(self, request: IncomingRequest) -> bytes | None:
        """The answer that the last request just like this one was given, if it may be given again."""
        recalled = self._facts.recall(request)
        if recalled is None or request.lookalikes:
            return None
        service, claims, permit, now = recalled
        self._record_allowed(claims, service, request)
        return self._permits.spell_out(permit, claims, request, now)

    def _conclude(self, request: IncomingRequest, gathered: Gathered, begun: float) -> bytes:
        facts, remembered = gathered
        match decide(facts):
            case Allow(claims) if facts.service is not None:
                if facts.service.rules is not None and check_steps.of(request) is not None:
                    return self._go_on(request, facts, begun)
                answer = self._allow(claims, facts.service, facts, request, remembered)
                self.meter.allowed(begun)
                return answer
            case Deny() as denial if check_steps.goes_on_to_refusal(denial, request, facts):
                return check_steps.TO_REFUSAL
            case Deny() as denial:
                return self._refuse(denial, request, facts.service, begun, facts)
            case _:
                raise AssertionError("nobody is allowed to no service")

    def _go_on(self, request: IncomingRequest, facts: DecisionContext, begun: float) -> bytes:
        """The answer at a step before the last to a request that may pass as far as can be said here."""
        if not check_steps.body_follows(request):
            # The service has got its first rule since Envoy was configured, so no body will come.
            denial = Deny(
                DenyReason.BODY_NOT_SENT, facts.token.claims if isinstance(facts.token, Verified) else None
            )
            return self._refuse(denial, request, facts.service, begun, facts)
        if check_steps.of(request) == check_steps.HEADERS and (
            check_steps.is_too_large(request) or check_steps.has_unknown_length(request)
        ):
            return check_steps.TO_REFUSAL
        return check_steps.WITH_BODY + _id_for_envoy(request, facts)

    def _allow(
        self,
        claims: AccessClaims,
        service: Service,
        facts: DecisionContext,
        request: IncomingRequest,
        remembered: CachedToken | None,
    ) -> bytes:
        now = facts.now
        answer = None if remembered is None or request.lookalikes else remembered.answer_at(service, now)
        if answer is None:
            answer = self._permits.make(claims, service, request.lookalikes, now)
            if remembered is not None and not request.lookalikes:
                remembered.keep(answer)
        self._record_allowed(claims, service, request)
        is_stream = isinstance(facts.asked, Call) and facts.asked.method == LISTEN
        permit = self._permits.spell_out(answer.permit, claims, request, now, is_stream=is_stream)
        return permit if service.rules is None else permit + _id_for_envoy(request, facts)

    def _refuse(
        self,
        denial: Deny,
        request: IncomingRequest | None,
        service: Service | None,
        begun: float,
        facts: DecisionContext | None = None,
    ) -> bytes:
        name = None if service is None else service.name
        service = _as_asked(service, request)
        # What to ask for may depend on the token; everything else is the same for everybody.
        kind = (denial.reason, None if service is None else service.resource, denial.told)
        request_id = _id_of(request, facts)
        is_common = not denial.scopes and request_id is None
        answer = self._refusals.get(kind) if is_common else None
        if answer is None:
            refused = refusal(denial.reason, service, denial.told, denial.scopes)
            answer = envoy_messages.encode_refused(refused.answering(request_id))
            if is_common:
                self._refusals[kind] = answer
        call = None if facts is None else _call_in_words(facts)
        event = _event(EventKind.ACCESS_DENIED, denial.reason, denial.claims, request, service)
        self._audit.record(event if call is None else replace(event, call=call))
        self.meter.refused(denial.reason, begun)
        return answer + envoy_messages.encode_metadata(denial.reason, denial.claims, name)

    def _fail(self, begun: float) -> bytes:
        self._log.exception("check.failed")
        self.meter.refused(DenyReason.INTERNAL_ERROR, begun)
        # The audit log may be what fails: then this is not recorded, and the answer is a refusal all the same.
        with suppress(OSError, ValueError):
            self._audit.record(_event(EventKind.ACCESS_DENIED, DenyReason.INTERNAL_ERROR, None, None, None))
        return self._broken


def _as_asked(service: Service | None, request: IncomingRequest | None) -> Service | None:
    """`service` under the URL that the client uses, whose metadata it must find (RFC 9728 section 3.3)."""
    if service is None or request is None or request.path == "/" or not request.path.endswith("/"):
        return service
    if not service.resource.endswith(request.path[:-1]):
        return service
    return replace(service, resource=f"{service.resource}/")


def _id_of(request: IncomingRequest | None, facts: DecisionContext | None) -> RequestId | None:
    """The id of the refused request, where its body came here. Only for a good token is all of it read."""
    if request is None or request.http is None or not request.http.raw_body:
        return None
    has_token = facts is not None and isinstance(facts.token, Verified)
    return id_of(request.http.raw_body if has_token else request.http.raw_body[:_STRANGERS_BYTES])


def _id_for_envoy(request: IncomingRequest, facts: DecisionContext) -> bytes:
    """The id of a request that may go on, for an answer of Envoy's own: the service may be out of reach."""
    request_id = _id_of(request, facts)
    return b"" if request_id is None else envoy_messages.encode_request_id(id_text(request_id))


def _call_in_words(facts: DecisionContext) -> str | None:
    """Which method and name a request used, where that was looked at."""
    if not isinstance(facts.asked, Call):
        return None
    return " ".join(filter(None, (facts.asked.method, facts.asked.name)))[:LONGEST_LOGGED]


def _event(
    kind: EventKind,
    reason: DenyReason | None,
    claims: AccessClaims | None,
    request: IncomingRequest | None,
    service: Service | None,
) -> AuditEvent:
    return AuditEvent(
        kind=kind,
        reason=reason,
        client_id=claims.client_id if claims else None,
        user=claims.github_user if claims else None,
        user_id=claims.github_id if claims else None,
        jti=claims.jti if claims else None,
        service=service.name if service else None,
        method=request.method[:LONGEST_LOGGED] if request else None,
        path=request.path[:LONGEST_LOGGED] if request else None,
        source=request.source[:LONGEST_LOGGED] if request and request.source else None,
        request_id=request.request_id[:LONGEST_LOGGED] if request and request.request_id else None,
    )
