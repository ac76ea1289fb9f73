"""One check, from bytes to bytes: decode, resolve, decide, encode, record.

This module contains no transport and no lookups.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from time import monotonic, perf_counter, time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from ext_authz.decision import answer_metadata, check_steps, envoy_messages
from ext_authz.decision.allow_response import AllowResponses
from ext_authz.decision.call_permits import CallPermits, Refused
from ext_authz.decision.limit_refusals import LimitRefusals
from ext_authz.metrics.meter import Meter
from oauth_core.audit import AuditRecorder, EventKind, NotRecordedError
from oauth_core.policy.decision import Deny, decide, limited
from oauth_core.policy.deny_response import deny_response
from oauth_core.policy.jsonrpc_errors import id_of, id_of_message, id_text
from oauth_core.policy.mcp_request import LISTEN, Call
from oauth_core.policy.session_binding import OpenedSession
from oauth_core.refusals import DenyReason

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ext_authz.decision.envoy_messages import IncomingRequest, ParsedRequest
    from ext_authz.decision.resolver import ContextResolver
    from ext_authz.decision.verified_token_cache import CachedVerdict
    from oauth_core.audit import AuditSink
    from oauth_core.limits.call_limits import Charge
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.decision import DecisionContext
    from oauth_core.policy.jsonrpc_errors import RequestId
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.resources import ServiceIndex

    Durable = Callable[[], Awaitable[None]]

_OF_THE_LOG = (OSError, ValueError)
"""The errors of a log that cannot be written."""

_OF_ARGUMENTS = frozenset({DenyReason.ARGUMENTS_NOT_ALLOWED, DenyReason.AMBIGUOUS_ARGUMENTS})

_MOST_QUESTIONS = 8
"""Questions to Redis for the permits of one call. Each gets some, but others may use them first."""

_LOST_RACE = 1_000_000
"""Microseconds to wait after so many."""

_MOST_REFUSALS = 4096
"""Encoded refusals in memory, about 1 KB each."""

_BYTES_WITHOUT_TOKEN = 8192
"""Bytes of a body that are read for its id when the caller presents no valid token."""


class AllowedSink(Protocol):
    """Records allowed requests. If it raises, the request is refused."""

    def allowed(
        self, claims: AccessClaims, service: Service, request: IncomingRequest, parsed: ParsedRequest | None = None
    ) -> None:
        """Record that `request` is allowed to `service` with the identity of `claims`.

        `parsed` is its message, where rules read the body. Raises `NotRecordedError`.
        """


class EventPerRequest:
    """Records an allowed request like any other event."""

    def __init__(self, audit: AuditRecorder) -> None:
        self._audit = audit

    def allowed(
        self, claims: AccessClaims, service: Service, request: IncomingRequest, parsed: ParsedRequest | None = None
    ) -> None:
        """Record `access.allowed`."""
        _record(self._audit, EventKind.ACCESS_ALLOWED, claims, request, service, parsed=parsed)


class Unrecorded:
    """Records no allowed requests."""

    def allowed(
        self, claims: AccessClaims, service: Service, request: IncomingRequest, parsed: ParsedRequest | None = None
    ) -> None:
        """Do nothing, as the operator configured."""


class PendingCheck(NamedTuple):
    """A check that must wait: its request, when it began, and whether it waits for the disk only.

    `resolved` is its context, if it needs permits of which Redis must be asked.
    """

    request: IncomingRequest
    begun: float
    is_for_disk: bool = False
    resolved: tuple[DecisionContext, CachedVerdict | None] | None = None


class Authorizer:
    """Answers `envoy.service.auth.v3.Authorization/Check`. Safe for many concurrent calls."""

    def __init__(
        self,
        resolver: ContextResolver,
        audit: AuditSink,
        allowed: AllowedSink | None = None,
        allow_responses: AllowResponses | None = None,
        meter: Meter | None = None,
        *,
        permits: CallPermits | None = None,
        durable: Durable | None = None,
        policy_version: str | None = None,
    ) -> None:
        """Without `allowed`, allowed requests go to `audit` like the others.

        Without `permits`, calls are counted in this process alone. With `durable`, an answer that allows a
        request waits until its record is on the disk.
        """
        self.meter = meter or Meter()
        self._resolver = resolver
        self._allow_responses = allow_responses or AllowResponses()
        self._audit = AuditRecorder(audit)
        self._audit.policy_version = policy_version
        self._durable = durable
        self._record_allowed = (allowed or EventPerRequest(self._audit)).allowed
        self._log = structlog.get_logger("check")
        self._permits = CallPermits(None, steady=monotonic, wall=time) if permits is None else permits
        self._limit_refusals = LimitRefusals(self._audit)
        self._refusals: dict[tuple[DenyReason, str | None, str | None, int | None], bytes] = {}
        self._broken = envoy_messages.encode_refused(
            deny_response(DenyReason.INTERNAL_ERROR, None)
        ) + envoy_messages.encode_metadata(DenyReason.INTERNAL_ERROR, None, None)

    def use(self, services: ServiceIndex, policy: RbacPolicy, version: str | None = None) -> None:
        """Use these services and this policy from the next decision on. `version` names them in the audit log."""
        self._resolver.use(services, policy)
        self._audit.policy_version = version
        self._refusals.clear()

    def close(self) -> None:
        """Record what is only counted so far."""
        self._limit_refusals.close()

    def check_now(self, message: bytes) -> bytes | PendingCheck:
        """Return the `CheckResponse` to the `CheckRequest` in `message`, whatever it contains.

        If the check must wait, this records nothing, and returns a value for `finish`.
        """
        begun = perf_counter()
        try:
            request = envoy_messages.decode(message, self._allow_responses.names)
            if request is None:
                return self._refuse(Deny(DenyReason.MALFORMED_REQUEST), None, None, begun)
            if self._durable is not None:
                return PendingCheck(request, begun, is_for_disk=True)
            resolved = self._resolver.resolve_now(request)
            if resolved is None:
                return PendingCheck(request, begun)
            concluded = self._conclude(request, resolved[0], resolved[1], begun, at_once=True)
            return PendingCheck(request, begun, resolved=resolved) if concluded is None else concluded[0]
        except Exception:  # noqa: BLE001 - the only such place: a fault in this program must end in a refusal too
            return self._fail(begun)

    async def finish(self, pending: PendingCheck) -> bytes:
        """Return the `CheckResponse` to a check that had to wait."""
        request, begun, is_for_disk, resolved = pending
        try:
            resolved = self._resolver.resolve_now(request) if is_for_disk else resolved
            at_once = resolved is not None
            if resolved is None:
                self.meter.waited += 1
                resolved = await self._resolver.resolve(request)
            context, cached = resolved
            concluded = self._conclude(request, context, cached, begun, at_once=at_once)
            if concluded is None:
                context, concluded = await self._conclude_with_permits(request, context, begun)
            answer, is_allowed = concluded
            if is_allowed and self._durable is not None:
                try:
                    await self._durable()
                except NotRecordedError:
                    self._permits.give_back(_charges_of(context))
                    return self._refuse_unrecorded(request, context, begun)
            return answer  # noqa: TRY300 - the same block as its refusal
        except Exception:  # noqa: BLE001 - as in `check_now`
            return self._fail(begun)

    async def check(self, message: bytes) -> bytes:
        """Call `check_now` and, if the check must wait, `finish`."""
        answer = self.check_now(message)
        return answer if isinstance(answer, bytes) else await self.finish(answer)

    def _conclude(
        self,
        request: IncomingRequest,
        context: DecisionContext,
        cached: CachedVerdict | None,
        begun: float,
        *,
        at_once: bool,
    ) -> tuple[bytes, bool] | None:
        """Return the answer, and whether it lets the request pass to its service.

        `None` means that Redis must be asked for permits first; nothing is used or recorded then.
        """
        decision = decide(context)
        service = context.service
        if isinstance(decision, Deny):
            if check_steps.continues_to_refusal(decision, request, context):
                return check_steps.TO_REFUSAL, False
            return self._refuse(decision, request, service, begun, context), False
        if service is None or cached is None:
            raise AssertionError("an allow decision without a service or a token")
        if service.rules is not None and check_steps.step_of(request) is not None:
            return self._continue(request, context, begun), False
        if decision.charges:
            taken = self._permits.take(decision.charges)
            if taken is False:
                return None
            if taken is not True:
                return self._refuse_limited(request, context, service, cached, taken, begun), False
        try:
            answer = self._allow(service, cached, context, request)
        except NotRecordedError:
            self._permits.give_back(decision.charges)
            return self._refuse_unrecorded(request, context, begun), False
        if at_once:
            self._resolver.count_hit()
        self.meter.allowed(begun)
        return answer, True

    async def _conclude_with_permits(
        self, request: IncomingRequest, context: DecisionContext, begun: float
    ) -> tuple[DecisionContext, tuple[bytes, bool]]:
        """Do what `_conclude` does, for a request that needs permits of Redis. Returns the last context too."""
        cached = None
        for _ in range(_MOST_QUESTIONS):
            charges = _charges_of(context)
            if charges:
                await self._permits.ask(charges)
            # During the wait the token may have been revoked, or the service disabled.
            context, cached = await self._resolver.resolve_again(request, context)
            concluded = self._conclude(request, context, cached, begun, at_once=False)
            if concluded is not None:
                return context, concluded
        service, charges = context.service, _charges_of(context)
        if service is None or cached is None or not charges:
            raise AssertionError("permits are needed for an allowed request alone")
        refused = Refused(charges[0], _LOST_RACE)
        return context, (self._refuse_limited(request, context, service, cached, refused, begun), False)

    def _refuse_limited(  # noqa: PLR0917 - all that a refusal needs
        self,
        request: IncomingRequest,
        context: DecisionContext,
        service: Service,
        cached: CachedVerdict,
        refused: Refused,
        begun: float,
    ) -> bytes:
        """Refuse a request that may pass, for want of a permit. It must cost less than a request that passes."""
        deny = limited(refused.charge, cached.verdict.claims, refused.wait)
        is_repeated = self._limit_refusals.is_repeated(refused.charge)
        # A caller that goes on calling gets its answer without the id, so that it costs one check and not two.
        if not is_repeated and check_steps.continues_to_refusal(deny, request, context):
            return check_steps.TO_REFUSAL
        self._limit_refusals.record(deny, refused.charge, request, service.name, context.request)
        metadata = cached.limited
        if metadata is None or metadata[0] is not deny.reason:
            encoded = envoy_messages.encode_metadata(deny.reason, deny.claims, service.name)
            metadata = cached.limited = (deny.reason, encoded)
        answer = self._encode_refusal(deny, request, service, begun, context) + metadata[1]
        return answer + envoy_messages.encode_called(request, context.request)

    def _refuse_unrecorded(self, request: IncomingRequest, context: DecisionContext, begun: float) -> bytes:
        """Refuse a request that may pass, because it cannot be recorded."""
        deny = Deny(DenyReason.AUDIT_UNAVAILABLE, context.claims)
        return self._refuse(deny, request, context.service, begun, context)

    def _continue(self, request: IncomingRequest, context: DecisionContext, begun: float) -> bytes:
        """Return the answer at a step before the last one to a request that may pass so far."""
        if not check_steps.body_follows(request):
            # The service got its first rule after Envoy was configured, so no body will follow.
            deny = Deny(DenyReason.BODY_NOT_SENT, context.claims)
            return self._refuse(deny, request, context.service, begun, context)
        if check_steps.step_of(request) == check_steps.HEADERS and (
            check_steps.is_too_large(request) or check_steps.has_unknown_length(request)
        ):
            return check_steps.TO_REFUSAL
        return check_steps.WITH_BODY + _id_for_envoy(request, context)

    def _allow(
        self, service: Service, cached: CachedVerdict, context: DecisionContext, request: IncomingRequest
    ) -> bytes:
        claims, now = cached.verdict.claims, context.now
        response = cached.response
        if response is None or now >= cached.until or request.lookalikes:
            response, until = self._allow_responses.build_response(claims, service, request.lookalikes, now)
            if not request.lookalikes:
                cached.response, cached.until = response, until
        parsed = context.request
        self._record_allowed(claims, service, request, parsed)
        is_stream = parsed.method == LISTEN if isinstance(parsed, Call) else None
        answer = self._allow_responses.render(response, claims, request, now, is_stream=is_stream)
        answer += answer_metadata.for_answer(service, cached.verdict, request, parsed)
        if isinstance(context.session, OpenedSession):
            answer += envoy_messages.encode_session(context.session)
        answer += envoy_messages.encode_called(request, parsed)
        return answer if service.rules is None else answer + _id_for_envoy(request, context)

    def _refuse(
        self,
        deny: Deny,
        request: IncomingRequest | None,
        service: Service | None,
        begun: float,
        context: DecisionContext | None = None,
    ) -> bytes:
        parsed = None if context is None else context.request
        # If the audit log is what fails, this may not be recorded, and the answer is a refusal in any case.
        with suppress(*_OF_THE_LOG) if deny.reason is DenyReason.AUDIT_UNAVAILABLE else nullcontext():
            _record(
                self._audit,
                deny.reason.event,
                deny.claims,
                request,
                service,
                reason=deny.reason,
                parsed=parsed,
            )
        answer = self._encode_refusal(deny, request, service, begun, context)
        name = None if service is None else service.name
        answer += envoy_messages.encode_metadata(deny.reason, deny.claims, name)
        return answer if request is None else answer + envoy_messages.encode_called(request, parsed)

    def _encode_refusal(
        self,
        deny: Deny,
        request: IncomingRequest | None,
        service: Service | None,
        begun: float,
        context: DecisionContext | None,
    ) -> bytes:
        """Return the answer without its metadata, and count it."""
        service = _under_requested_url(service, request)
        # The required scopes may depend on the token; everything else is the same for all callers.
        kind = (deny.reason, None if service is None else service.resource, deny.detail, deny.retry_after)
        request_id = _id_of(request, context)
        # A rule has many descriptions of arguments, one for each condition that they do not meet.
        is_common = not deny.scopes and request_id is None and deny.reason not in _OF_ARGUMENTS
        answer = self._refusals.get(kind) if is_common else None
        if answer is None:
            refused = deny_response(deny.reason, service, deny.detail, deny.scopes, deny.retry_after)
            answer = envoy_messages.encode_refused(refused.answering(request_id))
            if is_common:
                if len(self._refusals) >= _MOST_REFUSALS:
                    self._refusals.clear()
                self._refusals[kind] = answer
        self.meter.refused(deny.reason, begun)
        return answer

    def _fail(self, begun: float) -> bytes:
        self._log.exception("check.failed")
        self.meter.refused(DenyReason.INTERNAL_ERROR, begun)
        with suppress(*_OF_THE_LOG):
            _record(
                self._audit, DenyReason.INTERNAL_ERROR.event, None, None, None, reason=DenyReason.INTERNAL_ERROR
            )
        return self._broken


def _charges_of(context: DecisionContext) -> tuple[Charge, ...]:
    """Return the permits that a request needs; none if it is denied for another reason."""
    decision = decide(context)
    return () if isinstance(decision, Deny) else decision.charges


def _under_requested_url(service: Service | None, request: IncomingRequest | None) -> Service | None:
    """Return `service` under the URL that the client uses, whose metadata it must find (RFC 9728 section 3.3)."""
    if service is None or request is None or request.path == "/" or not request.path.endswith("/"):
        return service
    if not service.resource.endswith(request.path[:-1]):
        return service
    return replace(service, resource=f"{service.resource}/")


def _id_of(request: IncomingRequest | None, context: DecisionContext | None) -> RequestId | None:
    """Return the id of the refused request, if its body is here. All of it is read only for a valid token."""
    if request is None or request.http is None or not request.http.raw_body:
        return None
    has_token = context is not None and context.claims is not None
    return id_of(request.http.raw_body if has_token else request.http.raw_body[:_BYTES_WITHOUT_TOKEN])


def _id_for_envoy(request: IncomingRequest, context: DecisionContext) -> bytes:
    """Return the id of a request that may pass, for an answer by Envoy itself: the service may be unreachable."""
    if request.http is not None and isinstance(context.request, Call):
        request_id = id_of_message(request.http.raw_body)
    else:
        request_id = _id_of(request, context)
    return b"" if request_id is None else envoy_messages.encode_request_id(id_text(request_id))


def _record(
    audit: AuditRecorder,
    kind: EventKind,
    claims: AccessClaims | None,
    request: IncomingRequest | None,
    service: Service | None,
    *,
    reason: DenyReason | None = None,
    parsed: ParsedRequest | None = None,
) -> None:
    method, name, is_claimed = envoy_messages.called(request, parsed) if request else (None, None, None)
    call = parsed if reason is not None and isinstance(parsed, Call) else None
    audit.record(
        kind,
        reason=reason,
        claims=claims,
        service=service.name if service else None,
        method=request.method if request else None,
        path=request.path if request else None,
        call=None if call is None else " ".join(filter(None, (call.method, call.name))),
        mcp_method=method,
        mcp_name=name,
        mcp_claimed=is_claimed,
        origin=envoy_messages.origin_of(request) if request else None,
    )
