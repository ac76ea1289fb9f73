"""The effect of the answers in a real Envoy: which requests pass, and which headers the service gets."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.authz_process import USERS, environ, publish, remember, running_authz
from tests.support.envoy import AuthzEnvoy, running_envoy
from tests.support.redis_server import running_redis
from tests.support.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess, Issue

PATIENCE = 60.0
IDENTITY = ("x-user-id", "x-user-name", "x-client-id", "x-token-scope")


@pytest.fixture(scope="module", params=[False, True], ids=["joined headers", "raw headers"])
def envoy(
    authz: AuthzProcess, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[AuthzEnvoy]:
    """An Envoy before the check service, for each of the two ways in which it can send headers."""
    socket = authz.address.removeprefix("unix:")
    with running_envoy(tmp_path_factory.mktemp("envoy"), socket, raw_headers=request.param) as running:
        yield running


def bearer(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


def test_a_valid_token_passes_and_becomes_identity_headers(envoy: AuthzEnvoy, issue: Issue) -> None:
    reply = envoy.post("/time/mcp", [bearer(issue())])
    assert {name: reply.values(name) for name in IDENTITY} == {
        "x-user-id": ["583231"],
        "x-user-name": ["octocat"],
        "x-client-id": ["client-1"],
        "x-token-scope": ["mcp.time"],
    }
    assert reply.values("authorization") == []


@pytest.mark.requirement("complaints:semantic-router-1445")
@pytest.mark.parametrize("name", ["x-user-id", "X-User-Name", "X-CLIENT-ID", "x-token-scope"])
def test_a_forged_identity_header_never_reaches_the_service(envoy: AuthzEnvoy, issue: Issue, name: str) -> None:
    reply = envoy.post("/time/mcp", [(name, "forged"), bearer(issue()), (name, "forged too")])
    assert len(reply.values(name.lower())) == 1
    assert "forged" not in reply.body


@pytest.mark.parametrize("name", ["x_user_id", "X_User-Name", "x-client_id", "x.token.scope"])
def test_a_forged_identity_header_in_another_spelling_never_reaches_the_service(
    envoy: AuthzEnvoy, issue: Issue, name: str
) -> None:
    reply = envoy.post("/time/mcp", [(name, "forged"), bearer(issue()), (name, "forged too")])
    assert "forged" not in reply.body


def test_a_callers_own_identity_header_is_removed_when_the_token_has_no_value_for_it(
    envoy: AuthzEnvoy, issue: Issue
) -> None:
    reply = envoy.post("/time/mcp", [("x-user-name", "forged"), bearer(issue(github_user=""))])
    assert reply.values("x-user-name") == []


def test_other_headers_reach_the_service_unchanged(envoy: AuthzEnvoy, issue: Issue) -> None:
    sent = [("Mcp-Method", "abc"), ("X-User-Idea", "mine"), ("Accept", "text/event-stream")]
    reply = envoy.post("/time/mcp", [*sent, bearer(issue())])
    assert [reply.values(name.lower()) for name, _ in sent] == [[value] for _, value in sent]


def test_a_request_with_two_authorization_headers_does_not_pass(envoy: AuthzEnvoy, issue: Issue) -> None:
    token = issue()
    reply = envoy.post("/time/mcp", [bearer(token), bearer(token)])
    assert reply.status == 401


@pytest.mark.requirement("rfc6750:challenge-once")
def test_the_challenge_reaches_the_client_complete(envoy: AuthzEnvoy) -> None:
    reply = envoy.post("/time/mcp")
    assert reply.status == 401
    assert reply.headers["www-authenticate"] == (
        'Bearer resource_metadata="http://localhost:8080/.well-known/oauth-protected-resource/time/mcp", '
        'scope="mcp.time"'
    )
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["cache-control"] == "no-store"


def test_refusals_reach_the_client_with_their_status(envoy: AuthzEnvoy, issue: Issue) -> None:
    assert envoy.post("/time/mcp", [bearer("garbage")]).status == 401
    assert envoy.post("/time/mcp", [bearer(issue(scope="mcp.notes"))]).status == 403
    assert envoy.post("/nothing", [bearer(issue())]).status == 404
    assert envoy.post("/time/mcp", [bearer(issue())], host="evil.example").status == 404
    assert envoy.post("/time/mcp?access_token=x", [bearer(issue())]).status == 400


@pytest.mark.parametrize("value", ["Bearer \xff", "Bearer a\xfcb"])
def test_a_header_that_is_not_text_is_refused_and_not_an_error(envoy: AuthzEnvoy, value: str) -> None:
    assert envoy.post("/time/mcp", [("Authorization", value)]).status == 401


def test_an_unusual_byte_in_another_header_does_not_matter(envoy: AuthzEnvoy, issue: Issue) -> None:
    assert envoy.post("/time/mcp", [("X-Odd", "\xff\xfe"), bearer(issue())]).status == 200


def test_an_outage_is_503_with_retry_after_and_no_request_passes(tmp_path: Path, key: SigningKey) -> None:
    with running_redis(password="admin-password-of-tests", users=USERS) as redis:
        publish(redis, key)
        remember(redis, "jti-1")
        with running_authz(environ(redis)) as authz:
            authz.wait_for_health("SERVING")
            socket = authz.address.removeprefix("unix:")
            with running_envoy(tmp_path, socket, raw_headers=False) as envoy:
                assert envoy.post("/time/mcp", [bearer(mint(key))]).status == 200
                redis.kill()
                reply = envoy.post("/time/mcp", [bearer(mint(key))])
                deadline = time.monotonic() + PATIENCE
                while reply.status == 200:  # the cached status is used until the end of the connection is detected
                    assert time.monotonic() < deadline
                    reply = envoy.post("/time/mcp", [bearer(mint(key))])
                assert reply.status == 503
                assert int(reply.headers["retry-after"]) > 0
                assert "www-authenticate" not in reply.headers
                authz.process.kill()
                authz.process.wait()
                assert envoy.post("/time/mcp", [bearer(mint(key))]).status == 403
