"""The response to a denied caller, header by header."""

from __future__ import annotations

import json

import pytest

from oauth_core.model import Service
from oauth_core.policy.deny_response import DenyResponse, deny_response
from oauth_core.refusals import RETRY_AFTER_SECONDS, DenyReason

TIME = Service("time", "Time", "https://mcp.example/time/mcp", "http://127.0.0.1:1/mcp", "mcp.time")
METADATA = "https://mcp.example/.well-known/oauth-protected-resource/time/mcp"

INVALID_TOKEN = {
    DenyReason.MALFORMED_AUTHORIZATION,
    DenyReason.MALFORMED_TOKEN,
    DenyReason.WRONG_TYPE,
    DenyReason.UNKNOWN_KEY,
    DenyReason.WRONG_ALGORITHM,
    DenyReason.BAD_SIGNATURE,
    DenyReason.BAD_CLAIMS,
    DenyReason.WRONG_ISSUER,
    DenyReason.EXPIRED,
    DenyReason.NOT_YET_VALID,
    DenyReason.WRONG_AUDIENCE,
    DenyReason.REVOKED,
}


def header(answer: DenyResponse, name: str) -> str | None:
    values = [value for key, value in answer.headers if key == name]
    assert len(values) <= 1
    return values[0] if values else None


@pytest.mark.requirement("mcp:challenge-scope", "rfc6750:no-error-without-token", "rfc9728:challenge")
def test_without_a_token_the_challenge_has_metadata_and_scope_and_no_error() -> None:
    answer = deny_response(DenyReason.MISSING_TOKEN, TIME)
    assert answer.status == 401
    assert header(answer, "www-authenticate") == f'Bearer resource_metadata="{METADATA}", scope="mcp.time"'


@pytest.mark.requirement("mcp:error-status", "rfc6750:invalid-token")
@pytest.mark.parametrize("reason", sorted(INVALID_TOKEN))
def test_every_invalid_token_gets_the_same_401(reason: DenyReason) -> None:
    answer = deny_response(reason, TIME)
    assert answer.status == 401
    challenge = header(answer, "www-authenticate")
    assert challenge is not None
    assert challenge.startswith('Bearer error="invalid_token", error_description="')
    assert challenge.endswith(f', resource_metadata="{METADATA}", scope="mcp.time"')
    assert answer == deny_response(DenyReason.REVOKED, TIME), "callers must not learn which check failed"


@pytest.mark.requirement("mcp:error-status", "mcp:insufficient-scope", "rfc6750:insufficient")
def test_a_missing_scope_is_403_and_names_the_scope_and_the_metadata() -> None:
    answer = deny_response(DenyReason.INSUFFICIENT_SCOPE, TIME)
    assert answer.status == 403
    challenge = header(answer, "www-authenticate")
    assert challenge is not None
    assert challenge.startswith('Bearer error="insufficient_scope"')
    assert f'resource_metadata="{METADATA}", scope="mcp.time"' in challenge


def test_a_refusal_that_consent_cannot_change_requests_no_scope() -> None:
    answer = deny_response(DenyReason.FORBIDDEN_BY_POLICY, TIME)
    assert answer.status == 403
    challenge = header(answer, "www-authenticate")
    assert challenge == 'Bearer error="access_denied", error_description="You may not do this here."'


@pytest.mark.parametrize(
    "reason", [DenyReason.TOKEN_STATE_UNKNOWN, DenyReason.SERVICE_STATE_UNKNOWN, DenyReason.INTERNAL_ERROR]
)
def test_an_unknown_state_is_503_with_retry_after_and_no_challenge(reason: DenyReason) -> None:
    answer = deny_response(reason, TIME)
    assert answer.status == 503
    assert header(answer, "retry-after") == str(RETRY_AFTER_SECONDS)
    assert header(answer, "www-authenticate") is None


def test_a_disabled_service_is_503_with_the_reason_as_json_and_no_challenge() -> None:
    answer = deny_response(DenyReason.SERVICE_DISABLED, TIME, 'Back at "six", Zoë')
    assert answer.status == 503
    assert header(answer, "retry-after") == "60"
    assert header(answer, "www-authenticate") is None
    assert json.loads(answer.body)["error"]["message"].endswith('Back at "six", Zoë')
    assert answer.body.isascii()


@pytest.mark.parametrize("reason", [DenyReason.UNKNOWN_SERVICE, DenyReason.ROUTE_MISMATCH])
def test_an_unknown_service_is_404_without_a_challenge(reason: DenyReason) -> None:
    answer = deny_response(reason, None)
    assert answer.status == 404
    assert header(answer, "www-authenticate") is None


@pytest.mark.requirement("mcp:error-status", "rfc6750:invalid-request")
def test_a_token_in_the_url_is_an_invalid_request() -> None:
    answer = deny_response(DenyReason.TOKEN_IN_QUERY, TIME)
    assert answer.status == 400
    assert 'error="invalid_request"' in (header(answer, "www-authenticate") or "")


@pytest.mark.parametrize("service", [TIME, None])
@pytest.mark.parametrize("reason", sorted(DenyReason))
def test_every_refusal_is_small_uncached_json_without_the_internal_reason(
    reason: DenyReason, service: Service | None
) -> None:
    answer = deny_response(reason, service)
    assert 400 <= answer.status <= 504
    assert header(answer, "content-type") == "application/json"
    assert header(answer, "cache-control") == "no-store"
    for answered in (None, 7, "seven"):
        body = json.loads(answer.answering(answered).body)
        assert (body["jsonrpc"], body["id"]) == ("2.0", answered)
        assert set(body["error"]) == {"code", "message", "data"}
        assert body["error"]["data"]["error_description"] == body["error"]["message"]
    assert len(answer.body) < 400
    if reason in INVALID_TOKEN:
        assert reason.value not in answer.body


@pytest.mark.requirement("rfc6750:challenge-once")
def test_a_quote_in_a_url_is_escaped() -> None:
    odd = Service("odd", "Odd", 'https://mcp.example/a"b\\c', "http://127.0.0.1:1/mcp", "mcp.odd")
    challenge = header(deny_response(DenyReason.MISSING_TOKEN, odd), "www-authenticate")
    assert challenge is not None
    assert 'resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/a\\"b\\\\c"' in challenge
