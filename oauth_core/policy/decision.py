"""The decision: may this request pass? Total and pure; it denies unless every condition allows.

The decision has two halves. The static half, `evaluate_token`, depends only on the token, the service and the
policy, and its verdict may be cached. The dynamic half, `decide`, depends on the verdict, the clock, the status of
token and service, and the request; it runs for every request. The input types contain all that the two halves use.

The input is looked up first. A failed look-up is a value, never an exception, and it lets no request pass.

An allowed request may need permits of limits, its charges. It passes only once it has all of them. So a request
that is denied uses no permit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, assert_never

from oauth_core.limits.allowances import SECOND, CallQuota
from oauth_core.policy.access import (
    AccessResult,
    MissingScopes,
    Rights,
    UnmetArguments,
    evaluate,
    evaluate_entry,
    held_permissions,
    rights_of,
)
from oauth_core.policy.charges import charges_of, tool_charges_of
from oauth_core.policy.mcp_request import Call, CallFault, Session
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.session_binding import ForeignSession
from oauth_core.refusals import DenyReason
from oauth_core.tokens.access_tokens import Rejected, fault_of_time

if TYPE_CHECKING:
    from oauth_core.limits.call_limits import Charge, ToolLimit
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.rbac import RbacPolicy
    from oauth_core.policy.session_binding import OpenedSession


class Unverified(Enum):
    """Why there is no verdict on a token. Each member is a fact about the request, or about the check service."""

    MISSING = "missing"
    """No bearer token, or credentials of another scheme."""
    MALFORMED = "malformed"
    """More than one credential, or a bearer credential that cannot be a token (RFC 6750 section 2.1)."""
    IN_QUERY = "in_query"
    """A token in the URL, where logs and other services see it (RFC 9700 section 4.3.2)."""
    BUSY = "busy"
    """So many tokens wait for verification that one more would only delay all of them."""
    NO_KEYS = "no_keys"
    """The check service has no keys yet, so it cannot verify any token."""


class TokenStatus(Enum):
    """The status in Redis of a token that is otherwise good."""

    ACTIVE = "active"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """Redis did not answer in time, or was not asked."""


class ServiceStatus(Enum):
    """Whether requests may go to a service at all, if they are otherwise good."""

    OPEN = "open"
    UNKNOWN = "unknown"
    """Redis did not answer in time whether the service is disabled."""


@dataclass(frozen=True, slots=True)
class Disabled:
    """An operator disabled the service at second `since`. Callers receive the `reason`."""

    reason: str
    since: int


_NO_PERMISSIONS: frozenset[str] = frozenset()


class StaticInput(NamedTuple):
    """The complete input of the static half of the decision.

    It has no clock, no status and no request. So its verdict stays right as long as these three are the same, and
    a rule that needs anything else can be written only in the dynamic half.
    """

    claims: AccessClaims
    service: Service
    policy: RbacPolicy


class Verdict:
    """The result of the static half for a genuine token at one service, under one policy. Never changed."""

    __slots__ = ("charges", "claims", "entry", "held", "is_for_service", "rights", "service", "tool_limits")

    def __init__(
        self,
        claims: AccessClaims,
        service: Service,
        rights: Rights,
        entry: AccessResult | MissingScopes,
        *,
        is_for_service: bool,
        held: frozenset[str] = _NO_PERMISSIONS,
        charges: tuple[Charge, ...] = (),
        tool_limits: tuple[ToolLimit, ...] = (),
    ) -> None:
        """`entry` is the result for a request that no rule matches, or of which only the headers are known.

        `held` are the permissions of a service with rules that the rights contain. `is_for_service` is whether
        the token's audience contains the service. Every request needs the `charges`, and one that calls a tool
        those of the matching `tool_limits` too.
        """
        self.claims = claims
        self.service = service
        self.rights = rights
        self.entry = entry
        self.held = held
        self.is_for_service = is_for_service
        self.charges = charges
        self.tool_limits = tool_limits


class DecisionContext(NamedTuple):
    """The complete input of the dynamic half. It is made for every request, also for a cached verdict.

    `service` is the one for the host and the path; `routed_as` is the name in Envoy's route, if there is one.
    `token` is the verdict on a genuine token at that service, or the fault of the token. `now` is the second of
    the decision, after all look-ups. `request` is the parsed MCP request; it is parsed only where the service has
    tool rules. `certificate` is the thumbprint of the caller's certificate, and `proof` that of the key which the
    caller proved to have for this request; each is used only where the token is bound to one. `as_dpop` is true
    for a token under the scheme DPoP. `by_headers` is true if a second check follows, with the body: so far only
    the headers count. `session` is the session that the request names, where sessions are bound to their subject.
    """

    service: Service | None
    token: Verdict | Rejected | Unverified
    token_status: TokenStatus
    service_status: ServiceStatus | Disabled
    now: int
    routed_as: str | None = None
    request: Session | Call | CallFault | None = None
    certificate: str | None = None
    proof: str | None = None
    as_dpop: bool = False
    by_headers: bool = False
    session: OpenedSession | ForeignSession | None = None

    @property
    def claims(self) -> AccessClaims | None:
        """The claims of the token, if it is genuine."""
        return self.token.claims if isinstance(self.token, Verdict) else None


class Allow(NamedTuple):
    """Let the request pass, as the caller that these claims describe, once it has a permit for each charge."""

    claims: AccessClaims
    charges: tuple[Charge, ...] = ()


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse the request. `claims` are those of its genuine token, for the audit log.

    `detail` is an additional text for the caller, if there is one. `scopes` are those that a token needs for this
    request, if a new consent could give such a token. `retry_after` is in seconds, if it is not that of the row.
    """

    reason: DenyReason
    claims: AccessClaims | None = None
    detail: str | None = None
    scopes: tuple[str, ...] = ()
    retry_after: int | None = None


_PRECISE_SECONDS = 120
_NO_RIGHTS = Rights(frozenset(), Permissions())


def evaluate_token(given: StaticInput) -> Verdict:
    """The static half: the rights of a genuine token at a service. Its result may be cached under its input."""
    claims, service, policy = given
    if service.resource not in claims.aud:
        return Verdict(claims, service, _NO_RIGHTS, AccessResult.FORBIDDEN, is_for_service=False)
    rights = rights_of(policy, claims)
    entry = evaluate_entry(service, rights)
    held = _NO_PERMISSIONS if service.rules is None else held_permissions(service, rights)
    return Verdict(
        claims,
        service,
        rights,
        entry,
        is_for_service=True,
        held=held,
        charges=charges_of(service, policy, claims),
        tool_limits=policy.limits_at(service).tools,
    )


def decide(context: DecisionContext) -> Allow | Deny:
    """The dynamic half: the decision on a readable request. The first fault found is the reason."""
    service = context.service
    if service is None:
        return Deny(DenyReason.UNKNOWN_SERVICE)
    if context.routed_as is not None and context.routed_as != service.name:
        # The route leads to one service and the URL names another: a token for one would give access to the other.
        return Deny(DenyReason.ROUTE_MISMATCH)
    if isinstance(context.service_status, Disabled):
        # Before the token is checked: no request passes, and no client should discard a good token.
        return Deny(DenyReason.SERVICE_DISABLED, detail=context.service_status.reason)
    token = context.token
    if isinstance(token, Verdict):
        return _decide_on(token, service, context)
    match token:
        case Rejected(fault):
            return Deny(fault.reason)
        case Unverified.MISSING:
            return Deny(DenyReason.MISSING_TOKEN)
        case Unverified.MALFORMED:
            return Deny(DenyReason.MALFORMED_AUTHORIZATION)
        case Unverified.IN_QUERY:
            return Deny(DenyReason.TOKEN_IN_QUERY)
        case Unverified.NO_KEYS | Unverified.BUSY:
            return Deny(DenyReason.TOKEN_STATE_UNKNOWN)
        case _:
            assert_never(token)


def _decide_on(verdict: Verdict, service: Service, context: DecisionContext) -> Allow | Deny:
    """Return the decision on a verified token.

    The checks run in this order: time, audience, key that the token is bound to, token status, permissions, and
    service status, session. The first that fails is the reason.
    """
    claims = verdict.claims
    fault = fault_of_time(claims, context.now)
    if fault is not None:
        # The token may have expired during the look-up in Redis, or since it was verified.
        return Deny(fault.reason, claims)
    if not verdict.is_for_service or verdict.service is not service:
        return Deny(DenyReason.WRONG_AUDIENCE, claims)
    if claims.certificate is not None and claims.certificate != context.certificate:
        # The caller presents a token without the key it is bound to (RFC 8705 section 3).
        return Deny(DenyReason.WRONG_CERTIFICATE, claims)
    if context.as_dpop != (claims.dpop_key is not None) or (
        claims.dpop_key != context.proof and not context.by_headers
    ):
        # The same for a token that is bound to a DPoP key; the scheme must match the token (RFC 9449 section 7).
        # Only the check with the body checks the proof, because that uses the proof up.
        return Deny(DenyReason.WRONG_PROOF, claims)
    status = context.token_status
    if status is not TokenStatus.ACTIVE:
        reason = DenyReason.REVOKED if status is TokenStatus.REVOKED else DenyReason.TOKEN_STATE_UNKNOWN
        return Deny(reason, claims)
    if service.rules is None or context.by_headers:
        result: AccessResult | MissingScopes | UnmetArguments | CallFault = verdict.entry
    else:
        result = evaluate(service, verdict.rights, context.request, entry=verdict.entry, held=verdict.held)
    if result is AccessResult.GRANTED:
        if context.service_status is not ServiceStatus.OPEN:
            return Deny(DenyReason.SERVICE_STATE_UNKNOWN, claims)
        if isinstance(context.session, ForeignSession):
            # The same answer as for a session that never was: a client then begins another one.
            return Deny(DenyReason.UNKNOWN_SESSION, claims)
        if context.by_headers or not (verdict.charges or verdict.tool_limits):
            # Only the check with the body is final, so only that one costs permits.
            return Allow(claims)
        tools = tool_charges_of(service, verdict.tool_limits, claims, context.request)
        return Allow(claims, verdict.charges + tools)
    return _deny_for_missing_right(result, claims)


def limited(charge: Charge, claims: AccessClaims, wait: int) -> Deny:
    """The decision on an allowed request for which there is no permit before `wait` microseconds have passed."""
    seconds = -(-wait // SECOND)
    if seconds > _PRECISE_SECONDS:
        # A time in whole minutes, which is not earlier: there are fewer different answers.
        seconds = -(-seconds // 60) * 60
    reason = DenyReason.QUOTA_USED_UP if isinstance(charge.limit.allowance, CallQuota) else DenyReason.RATE_LIMITED
    return Deny(reason, claims, retry_after=max(seconds, 1))


def _deny_for_missing_right(
    result: AccessResult | MissingScopes | UnmetArguments | CallFault, claims: AccessClaims
) -> Deny:
    match result:
        case AccessResult.FORBIDDEN | AccessResult.GRANTED:
            return Deny(DenyReason.FORBIDDEN_BY_POLICY, claims)
        case MissingScopes(scopes):
            return Deny(DenyReason.INSUFFICIENT_SCOPE, claims, scopes=scopes)
        case UnmetArguments(text, is_ambiguous):
            reason = DenyReason.AMBIGUOUS_ARGUMENTS if is_ambiguous else DenyReason.ARGUMENTS_NOT_ALLOWED
            return Deny(reason, claims, detail=text)
        case CallFault() as fault:
            return Deny(fault.reason, claims)
        case _ as never:
            assert_never(never)
