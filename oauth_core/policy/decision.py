"""The decision: may this request pass? Total, pure, and no unless every fact says yes.

Whoever asks gathers the facts first. A fact is a value, never an exception: what could not be found out is a
value too, and it never lets anybody through.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, assert_never

from oauth_core.policy.access import Judgement, Lacking, Rights, judge
from oauth_core.policy.mcp_request import Call, CallFault, Session
from oauth_core.tokens.access_tokens import Rejected, TokenFault, Verified

if TYPE_CHECKING:
    from oauth_core.model import AccessClaims, Service


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


class DenyReason(StrEnum):
    """Why a request is refused, for the audit log. What the caller learns is
    `oauth_core.policy.refusals`'s to say.
    """

    MALFORMED_REQUEST = "malformed_request"
    UNKNOWN_SERVICE = "unknown_service"
    ROUTE_MISMATCH = "route_mismatch"
    SERVICE_ISOLATED = "service_isolated"
    MISSING_TOKEN = "missing_token"
    MALFORMED_AUTHORIZATION = "malformed_authorization"
    TOKEN_IN_QUERY = "token_in_query"
    MALFORMED_TOKEN = "malformed_token"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_KEY = "unknown_key"
    WRONG_ALGORITHM = "wrong_algorithm"
    BAD_SIGNATURE = "bad_signature"
    BAD_CLAIMS = "bad_claims"
    WRONG_ISSUER = "wrong_issuer"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"
    WRONG_AUDIENCE = "wrong_audience"
    WRONG_CERTIFICATE = "wrong_certificate"
    WRONG_PROOF = "wrong_proof"
    REVOKED = "revoked"
    INSUFFICIENT_SCOPE = "insufficient_scope"
    FORBIDDEN_BY_POLICY = "forbidden_by_policy"
    BODY_MISSING = "body_missing"
    BODY_NOT_SENT = "body_not_sent"
    BODY_PARTIAL = "body_partial"
    BODY_ENCODED = "body_encoded"
    BODY_NOT_JSON = "body_not_json"
    BODY_UNREADABLE = "body_unreadable"
    BODY_BATCH = "body_batch"
    BODY_NOT_A_MESSAGE = "body_not_a_message"
    AMBIGUOUS_NAME = "ambiguous_name"
    HEADER_MISMATCH = "header_mismatch"
    WRONG_HTTP_METHOD = "wrong_http_method"
    TOKEN_STATE_UNKNOWN = "token_state_unknown"
    SERVICE_STATE_UNKNOWN = "service_state_unknown"
    INTERNAL_ERROR = "internal_error"


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """All that a decision rests on.

    `service` is the one that host and path name; `routed_as` is the name Envoy's route gave it, if it gave one.
    `now` is the second at which the decision is taken, after every fact was gathered. `rights` are those of the
    token under the policy of that moment. `asked` is what the request asks to do; it was looked at only where the
    service has tool rules. `certificate` is the thumbprint of the one that the caller showed, and `proof` of the
    key that it proved to have for this very request; each was looked at only where the token is bound to one.
    `as_dpop` says that the token came under the scheme DPoP. `by_headers` says that a second check follows, which
    has the body: so far only the headers count.
    """

    service: Service | None
    routed_as: str | None
    token: Verified | Rejected | Unverified
    liveness: TokenStatus
    availability: ServiceStatus | Isolated
    now: int
    rights: Rights | None
    asked: Session | Call | CallFault | None = None
    certificate: str | None = None
    proof: str | None = None
    as_dpop: bool = False
    by_headers: bool = False


@dataclass(frozen=True, slots=True)
class Allow:
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


def decide(facts: DecisionContext) -> Allow | Deny:
    """The decision on a request that could be read. The first thing wrong is the reason."""
    if facts.service is None:
        return Deny(DenyReason.UNKNOWN_SERVICE)
    if facts.routed_as is not None and facts.routed_as != facts.service.name:
        # The route leads to one service and the URL names another: a token for the one would open the other.
        return Deny(DenyReason.ROUTE_MISMATCH)
    if isinstance(facts.availability, Isolated):
        # Before the token is looked at: nobody gets through, and no client should throw a good token away.
        return Deny(DenyReason.SERVICE_ISOLATED, told=facts.availability.reason)
    match facts.token:
        case Verified(claims):
            return _decide_on(claims, facts.service, facts)
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
            assert_never(facts.token)


def _decide_on(claims: AccessClaims, service: Service, facts: DecisionContext) -> Allow | Deny:
    """The decision on a genuine token. What no retry can mend is said before what an outage hides."""
    if facts.now >= claims.exp:
        # It was looked at before Redis was asked, and may have expired while we waited.
        return Deny(DenyReason.EXPIRED, claims)
    if service.resource not in claims.aud:
        return Deny(DenyReason.WRONG_AUDIENCE, claims)
    if claims.certificate is not None and claims.certificate != facts.certificate:
        # Somebody holds the token who does not hold the key (RFC 8705 section 3).
        return Deny(DenyReason.WRONG_CERTIFICATE, claims)
    if claims.dpop_key != facts.proof or facts.as_dpop != (claims.dpop_key is not None):
        # Nor the key of a token that is bound to one; and a token means what its scheme says (RFC 9449 section 7).
        return Deny(DenyReason.WRONG_PROOF, claims)
    match facts.liveness:
        case TokenStatus.UNKNOWN:
            return Deny(DenyReason.TOKEN_STATE_UNKNOWN, claims)
        case TokenStatus.REVOKED:
            return Deny(DenyReason.REVOKED, claims)
        case TokenStatus.ACTIVE:
            return _decide_on_right(claims, service, facts)
        case _:
            assert_never(facts.liveness)


def _decide_on_right(claims: AccessClaims, service: Service, facts: DecisionContext) -> Allow | Deny:
    """The decision on a token that is good here: is what is asked its right?"""
    if facts.rights is None:
        return Deny(DenyReason.FORBIDDEN_BY_POLICY, claims)
    match judge(service, facts.rights, facts.asked, by_headers=facts.by_headers):
        case Judgement.GRANTED if facts.availability is ServiceStatus.OPEN:
            return Allow(claims)
        case Judgement.GRANTED:
            return Deny(DenyReason.SERVICE_STATE_UNKNOWN, claims)
        case Judgement.FORBIDDEN:
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
