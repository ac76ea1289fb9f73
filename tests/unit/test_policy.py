"""The decision: examples, and properties that hold for every context."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.model import AccessClaims, Service
from oauth_core.policy.decision import (
    Allow,
    DecisionContext,
    Deny,
    Disabled,
    ServiceStatus,
    StaticInput,
    TokenStatus,
    Unverified,
    Verdict,
    decide,
    evaluate_token,
)
from oauth_core.policy.rbac import RbacPolicy
from oauth_core.refusals import DenyReason
from oauth_core.tokens.access_tokens import Rejected, TokenFault, Verified

NOW = 1_800_000_000
TIME = Service("time", "Time", "https://mcp.example/time", "http://127.0.0.1:1/mcp", "mcp.time")
NOTES = Service("notes", "Notes", "https://mcp.example/notes", "http://127.0.0.1:2/mcp", "mcp.notes")


EVERYBODY = RbacPolicy.from_roles((), (TIME, NOTES))


def make_claims(
    *, aud: tuple[str, ...] = (TIME.resource,), scope: str = "mcp.time", exp: int = NOW + 60
) -> AccessClaims:
    return AccessClaims(
        iss="https://mcp.example",
        sub="1",
        aud=aud,
        exp=exp,
        iat=NOW - 60,
        jti="jti-1",
        client_id="client-1",
        scope=scope,
        github_user="octocat",
        github_id=1,
    )


def make_context(
    *,
    service: Service | None = TIME,
    routed_as: str | None = None,
    token: Verified | Rejected | Unverified | None = None,
    token_status: TokenStatus = TokenStatus.ACTIVE,
    service_status: ServiceStatus | Disabled = ServiceStatus.OPEN,
    now: int = NOW,
) -> DecisionContext:
    token = Verified(make_claims()) if token is None else token
    verdict: Verdict | Rejected | Unverified
    if isinstance(token, Verified):
        verdict = evaluate_token(StaticInput(token.claims, service or TIME, EVERYBODY))
    else:
        verdict = token
    return DecisionContext(service, verdict, token_status, service_status, now, routed_as)


def reason(context: DecisionContext) -> DenyReason:
    decision = decide(context)
    assert isinstance(decision, Deny)
    return decision.reason


def test_an_active_token_for_this_service_with_its_scope_is_allowed() -> None:
    assert decide(make_context()) == Allow(make_claims())


def test_one_of_several_audiences_and_scopes_is_enough() -> None:
    claims = make_claims(aud=(NOTES.resource, TIME.resource), scope="mcp.notes mcp.time")
    assert decide(make_context(token=Verified(claims))) == Allow(claims)


def test_a_request_for_no_service_is_refused_even_with_a_valid_token() -> None:
    assert reason(make_context(service=None)) == DenyReason.UNKNOWN_SERVICE


def test_a_route_to_another_service_than_that_of_the_url_is_refused() -> None:
    assert reason(make_context(routed_as="notes")) == DenyReason.ROUTE_MISMATCH
    assert isinstance(decide(make_context(routed_as="time")), Allow)


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        (Unverified.MISSING, DenyReason.MISSING_TOKEN),
        (Unverified.MALFORMED, DenyReason.MALFORMED_AUTHORIZATION),
        (Unverified.IN_QUERY, DenyReason.TOKEN_IN_QUERY),
        (Unverified.NO_KEYS, DenyReason.TOKEN_STATE_UNKNOWN),
    ],
)
def test_without_a_verified_token_the_request_is_refused(token: Unverified, expected: DenyReason) -> None:
    assert reason(make_context(token=token)) == expected


def test_every_token_fault_has_its_own_reason() -> None:
    reasons = {reason(make_context(token=Rejected(fault))) for fault in TokenFault}
    assert len(reasons) == len(TokenFault)


@pytest.mark.requirement("rfc6750:audience", "rfc9068:verify-aud")
def test_a_token_for_another_service_is_refused() -> None:
    assert reason(make_context(token=Verified(make_claims(aud=(NOTES.resource,))))) == DenyReason.WRONG_AUDIENCE


@pytest.mark.parametrize(
    "audience", [f"{TIME.resource}/", TIME.resource.upper(), TIME.resource[:-1], "https://mcp.example", "*"]
)
def test_an_audience_that_only_resembles_the_service_is_another(audience: str) -> None:
    assert reason(make_context(token=Verified(make_claims(aud=(audience,))))) == DenyReason.WRONG_AUDIENCE


@pytest.mark.parametrize("scope", ["", "mcp", "mcp.time.read", "MCP.TIME", "mcp.times", "mcp.notes", "mcp.time\n"])
def test_a_token_without_the_exact_scope_is_refused(scope: str) -> None:
    assert reason(make_context(token=Verified(make_claims(scope=scope)))) == DenyReason.INSUFFICIENT_SCOPE


def test_a_revoked_token_is_refused() -> None:
    assert reason(make_context(token_status=TokenStatus.REVOKED)) == DenyReason.REVOKED


def test_a_token_of_unknown_status_is_refused_as_unknown() -> None:
    assert reason(make_context(token_status=TokenStatus.UNKNOWN)) == DenyReason.TOKEN_STATE_UNKNOWN


def test_a_token_that_expired_during_the_lookup_is_refused() -> None:
    assert reason(make_context(token=Verified(make_claims(exp=NOW)))) == DenyReason.EXPIRED


def test_a_revoked_token_gets_no_challenge_for_more_scope() -> None:
    context = make_context(token=Verified(make_claims(scope="")), token_status=TokenStatus.REVOKED)
    assert reason(context) == DenyReason.REVOKED


def test_the_denial_of_a_genuine_token_has_its_claims() -> None:
    decision = decide(make_context(token_status=TokenStatus.REVOKED))
    assert isinstance(decision, Deny)
    assert decision.claims == make_claims()


_claims = st.builds(
    make_claims,
    aud=st.lists(st.sampled_from([TIME.resource, NOTES.resource, "", "*"])).map(tuple),
    scope=st.lists(st.sampled_from(["mcp.time", "mcp.notes", "mcp", ""])).map(" ".join),
    exp=st.integers(NOW - 2, NOW + 2),
)
_tokens = st.one_of(_claims.map(Verified), st.sampled_from(TokenFault).map(Rejected), st.sampled_from(Unverified))
_facts = st.builds(
    make_context,
    service=st.sampled_from([TIME, NOTES, None]),
    routed_as=st.sampled_from([None, "time", "notes", ""]),
    token=_tokens,
    token_status=st.sampled_from(TokenStatus),
    service_status=st.sampled_from([*ServiceStatus, Disabled("repairs", NOW)]),
    now=st.integers(NOW - 2, NOW + 2),
)


@given(_facts)
@example(make_context())
def test_a_request_is_allowed_only_if_every_condition_holds(context: DecisionContext) -> None:
    decision = decide(context)
    everything_holds = (
        context.service is not None
        and context.routed_as in {None, context.service.name}
        and isinstance(context.token, Verdict)
        and context.now < context.token.claims.exp
        and context.service.resource in context.token.claims.aud
        and context.service.scope in context.token.claims.scope.split()
        and context.token_status is TokenStatus.ACTIVE
        and context.service_status is ServiceStatus.OPEN
    )
    assert isinstance(decision, Allow) == everything_holds


@given(_facts, st.sampled_from([TokenStatus.UNKNOWN, TokenStatus.REVOKED]))
def test_a_token_that_is_not_known_to_be_active_is_always_refused(
    context: DecisionContext, token_status: TokenStatus
) -> None:
    assert isinstance(decide(context._replace(token_status=token_status)), Deny)


@given(_facts)
def test_a_disabled_service_is_always_refused_and_no_token_is_reported_as_invalid(
    context: DecisionContext,
) -> None:
    decision = decide(context._replace(service_status=Disabled("repairs", NOW)))
    assert isinstance(decision, Deny)
    if decision.reason is DenyReason.SERVICE_DISABLED:
        assert decision.detail == "repairs"
    else:
        assert decision.reason in {DenyReason.UNKNOWN_SERVICE, DenyReason.ROUTE_MISMATCH}
