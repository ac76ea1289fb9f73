"""The decision: may this request pass? Total and pure; the answer is no unless everything says yes.

The decision has two halves. The static half, `judge_token`, depends on the token, the service and the policy
alone, and its verdict may be remembered. The dynamic half, `decide`, depends on the verdict, the clock, the status
of token and service, and the request; it runs for every request. What the two look at is in their input types.

The input is looked up first. What could not be found out is a value, never an exception, and it lets no request
pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, assert_never

from oauth_core.policy.access import Judgement, Lacking, Rights, judge, judge_entry, rights_of
from oauth_core.policy.mcp_request import Call, CallFault, Session
from oauth_core.policy.permissions import Permissions
from oauth_core.refusals import DenyReason
from oauth_core.tokens.access_tokens import Rejected, TokenFault, fault_of_time

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims, Service
    from oauth_core.policy.rbac import RbacPolicy


class Unverified(Enum):
    """Why there is no verdict on a token. Each member is a fact about the request, or about us."""

    MISSING = "missing"
    """No bearer token, or credentials of another scheme."""
    MALFORMED = "malformed"
    """More than one credential, or a bearer credential that cannot be a token (RFC 6750 section 2.1)."""
    IN_QUERY = "in_query"
    """A token in the URL, where logs and other services see it (RFC 9700 section 4.3.2)."""
    BUSY = "busy"
    """So many tokens wait to be verified that one more would only make all of them late."""
    NO_KEYS = "no_keys"
    """We have no keys yet, so nothing can be said about any token."""


class TokenStatus(Enum):
    """What Redis says about a token that is otherwise good."""

    ACTIVE = "active"
    REVOKED = "revoked"
    UNKNOWN = "unknown"
    """Redis did not answer in time, or was not asked."""


class ServiceStatus(Enum):
    """Whether requests may go to a service at all, if they are otherwise good."""

    OPEN = "open"
    UNKNOWN = "unknown"
    """Redis did not say in time whether the service is isolated."""


@dataclass(frozen=True, slots=True)
class Isolated:
    """An operator took the service out at second `since`. `reason` is told to callers."""

    reason: str
    since: int


class StaticInput(NamedTuple):
    """All that the static half of the decision may look at.

    It has no clock, no status and no request. So its verdict stays right for as long as these three are the same,
    and a rule that needs anything else can be written in the dynamic half only.
    """

    claims: AccessClaims
    service: Service
    policy: RbacPolicy


class Verdict:
    """What the static half found out about a genuine token at one service, under one policy. Never changed."""

    __slots__ = ("claims", "entry", "is_for_service", "rights", "service")

    def __init__(
        self,
        claims: AccessClaims,
        service: Service,
        rights: Rights,
        entry: Judgement | Lacking,
        *,
        is_for_service: bool,
    ) -> None:
        """`entry` is the judgement where no rule speaks of the request, or where only its headers are known.

        `is_for_service` says that the token's audience has the service.
        """
        self.claims = claims
        self.service = service
        self.rights = rights
        self.entry = entry
        self.is_for_service = is_for_service


class DecisionContext(NamedTuple):
    """All that the dynamic half looks at. It is made for every request, also where the verdict was remembered.

    `service` is the one that host and path name; `routed_as` is the name that Envoy's route gave it, if it gave
    one. `token` is the verdict on a genuine token at that service, or what is wrong with the token. `now` is the
    second at which the decision is taken, after everything was looked up. `asked` is what the request asks to do;
    it is read only where the service has tool rules. `certificate` is the thumbprint of the caller's certificate,
    and `proof` that of the key which the caller proved to have for this very request; each is looked at only where
    the token is bound to one. `as_dpop` says that the token came under the scheme DPoP. `by_headers` says that a
    second check follows, which has the body: so far only the headers count.
    """

    service: Service | None
    token: Verdict | Rejected | Unverified
    token_status: TokenStatus
    service_status: ServiceStatus | Isolated
    now: int
    routed_as: str | None = None
    asked: Session | Call | CallFault | None = None
    certificate: str | None = None
    proof: str | None = None
    as_dpop: bool = False
    by_headers: bool = False

    @property
    def claims(self) -> AccessClaims | None:
        """The claims of the token, if it is genuine."""
        return self.token.claims if isinstance(self.token, Verdict) else None


class Allow(NamedTuple):
    """Let the request through, as the one these claims describe."""

    claims: AccessClaims


@dataclass(frozen=True, slots=True)
class Deny:
    """Refuse the request. `claims` are those of its token when that was genuine, for the audit log.

    `told` is what the caller is told besides, where there is something. `scopes` are what a token must have that
    would have been let in, where a new consent could give such a one.
    """

    reason: DenyReason
    claims: AccessClaims | None = None
    told: str | None = None
    scopes: tuple[str, ...] = ()


_NO_RIGHTS = Rights(frozenset(), Permissions())


def judge_token(given: StaticInput) -> Verdict:
    """The static half: what a genuine token is worth at a service. Its result may be remembered under its
    input.
    """
    claims, service, policy = given
    if service.resource not in claims.aud:
        return Verdict(claims, service, _NO_RIGHTS, Judgement.FORBIDDEN, is_for_service=False)
    rights = rights_of(policy, claims)
    return Verdict(claims, service, rights, judge_entry(service, rights), is_for_service=True)


def decide(context: DecisionContext) -> Allow | Deny:
    """The dynamic half: the decision on a request that could be read. The first thing wrong is the reason."""
    service = context.service
    if service is None:
        return Deny(DenyReason.UNKNOWN_SERVICE)
    if context.routed_as is not None and context.routed_as != service.name:
        # The route leads to one service and the URL names another: a token for the one would open the other.
        return Deny(DenyReason.ROUTE_MISMATCH)
    if isinstance(context.service_status, Isolated):
        # Before the token is looked at: no request gets through, and no client should throw a good token away.
        return Deny(DenyReason.SERVICE_ISOLATED, told=context.service_status.reason)
    token = context.token
    if isinstance(token, Verdict):
        return _decide_on(token, service, context)
    match token:
        case Rejected(fault):
            return Deny(_fault_reason(fault))
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
    """The decision on a genuine token. What no retry can mend is said before what an outage hides."""
    claims = verdict.claims
    fault = fault_of_time(claims, context.now)
    if fault is not None:
        # The token may have expired while Redis was asked, or since it was verified.
        return Deny(_fault_reason(fault), claims)
    if not verdict.is_for_service or verdict.service is not service:
        return Deny(DenyReason.WRONG_AUDIENCE, claims)
    if claims.certificate is not None and claims.certificate != context.certificate:
        # A caller that does not hold the key presents the token (RFC 8705 section 3).
        return Deny(DenyReason.WRONG_CERTIFICATE, claims)
    if context.as_dpop != (claims.dpop_key is not None) or (
        claims.dpop_key != context.proof and not context.by_headers
    ):
        # The same for a token that is bound to a key; and a token means what its scheme says (RFC 9449 section 7).
        # The check that has the body looks at the proof, which is used up by that.
        return Deny(DenyReason.WRONG_PROOF, claims)
    status = context.token_status
    if status is not TokenStatus.ACTIVE:
        reason = DenyReason.REVOKED if status is TokenStatus.REVOKED else DenyReason.TOKEN_STATE_UNKNOWN
        return Deny(reason, claims)
    if service.rules is None or context.by_headers:
        judgement: Judgement | Lacking | CallFault = verdict.entry
    else:
        judgement = judge(service, verdict.rights, context.asked, entry=verdict.entry)
    if judgement is Judgement.GRANTED:
        if context.service_status is ServiceStatus.OPEN:
            return Allow(claims)
        return Deny(DenyReason.SERVICE_STATE_UNKNOWN, claims)
    return _denial_by_right(judgement, claims)


def _denial_by_right(judgement: Judgement | Lacking | CallFault, claims: AccessClaims) -> Deny:
    match judgement:
        case Judgement.FORBIDDEN | Judgement.GRANTED:
            return Deny(DenyReason.FORBIDDEN_BY_POLICY, claims)
        case Lacking(scopes):
            return Deny(DenyReason.INSUFFICIENT_SCOPE, claims, scopes=scopes)
        case CallFault() as fault:
            return Deny(_call_reason(fault), claims)
        case _ as never:
            assert_never(never)


def _call_reason(fault: CallFault) -> DenyReason:
    match fault:
        case CallFault.MISSING:
            return DenyReason.BODY_MISSING
        case CallFault.NOT_SENT:
            return DenyReason.BODY_NOT_SENT
        case CallFault.PARTIAL:
            return DenyReason.BODY_PARTIAL
        case CallFault.ENCODED:
            return DenyReason.BODY_ENCODED
        case CallFault.NOT_JSON:
            return DenyReason.BODY_NOT_JSON
        case CallFault.UNREADABLE:
            return DenyReason.BODY_UNREADABLE
        case CallFault.BATCH:
            return DenyReason.BODY_BATCH
        case CallFault.NOT_A_MESSAGE:
            return DenyReason.BODY_NOT_A_MESSAGE
        case CallFault.AMBIGUOUS_NAME:
            return DenyReason.AMBIGUOUS_NAME
        case CallFault.HEADER_MISMATCH:
            return DenyReason.HEADER_MISMATCH
        case CallFault.WRONG_METHOD:
            return DenyReason.WRONG_HTTP_METHOD
        case _:
            assert_never(fault)


def _fault_reason(fault: TokenFault) -> DenyReason:
    match fault:
        case TokenFault.MALFORMED:
            return DenyReason.MALFORMED_TOKEN
        case TokenFault.WRONG_TYPE:
            return DenyReason.WRONG_TYPE
        case TokenFault.UNKNOWN_KEY:
            return DenyReason.UNKNOWN_KEY
        case TokenFault.WRONG_ALGORITHM:
            return DenyReason.WRONG_ALGORITHM
        case TokenFault.BAD_SIGNATURE:
            return DenyReason.BAD_SIGNATURE
        case TokenFault.BAD_CLAIMS:
            return DenyReason.BAD_CLAIMS
        case TokenFault.WRONG_ISSUER:
            return DenyReason.WRONG_ISSUER
        case TokenFault.EXPIRED:
            return DenyReason.EXPIRED
        case TokenFault.NOT_YET_VALID:
            return DenyReason.NOT_YET_VALID
        case _:
            assert_never(fault)
