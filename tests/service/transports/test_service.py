"""The check service as Envoy uses it: a real process, a real gRPC client, a real Redis; on every transport."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import jwt
import pytest

from oauth_core.jose.signing_keys import generate_key
from oauth_core.store import keyspace
from tests.support.authz_process import end_token
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.tokens import ISSUER, NOTES, TIME, mint, new_key

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey
    from tests.support.authz_process import AuthzProcess, Issue
    from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.parametrize(
    "transport", ["http2", "grpcio", pytest.param(None, id="default")], indirect=True
)

METADATA = f"{ISSUER}/.well-known/oauth-protected-resource/time/mcp"


def ask(authz: AuthzProcess, **request: Any) -> Answer:
    return read_answer(authz.check(check_request(**request)))


@pytest.mark.requirement("oauth21:header-token", "rfc6750:header")
def test_an_active_token_passes_and_the_service_gets_the_identity(authz: AuthzProcess, issue: Issue) -> None:
    answer = ask(authz, token=issue())
    assert answer.status == 200
    assert answer.identity == {
        "x-user-id": "583231",
        "x-user-name": "octocat",
        "x-client-id": "client-1",
        "x-token-scope": "mcp.time",
    }
    assert answer.removed[0] == "authorization"
    assert 0 < int(answer.headers["x-envoy-upstream-rq-timeout-ms"]) <= 600_000, "the response ends with the token"


def test_a_machine_client_passes_with_its_own_identity(authz: AuthzProcess, issue: Issue) -> None:
    answer = ask(authz, token=issue(sub="client-1", client_id="client-1", github_user=None, github_id=None))
    assert answer.status == 200
    assert answer.identity == {"x-user-id": "client-1", "x-client-id": "client-1", "x-token-scope": "mcp.time"}
    assert "x-user-name" in answer.removed


@pytest.mark.requirement("mcp:header-token")
@pytest.mark.parametrize("path", ["/time/mcp", "/time/mcp?x=y", "/time/mcp/", "/time/mcp/messages"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_the_service_and_paths_below_it_need_a_token_for_every_method(
    authz: AuthzProcess, issue: Issue, path: str, method: str
) -> None:
    assert ask(authz, path=path, method=method, token=issue()).status == 200
    assert ask(authz, path=path, method=method).status == 401


@pytest.mark.requirement("mcp:challenge-on-401", "oauth21:www-authenticate", "rfc6750:challenge")
def test_without_a_token_the_challenge_names_the_resource_metadata(authz: AuthzProcess) -> None:
    answer = ask(authz)
    assert (answer.status, answer.grpc_code) == (401, grpc.StatusCode.UNAUTHENTICATED.value[0])
    assert answer.headers["www-authenticate"] == f'Bearer resource_metadata="{METADATA}", scope="mcp.time"'
    assert answer.headers["cache-control"] == "no-store"
    assert answer.error == "unauthorized"


def without_signature(token: str) -> str:
    return token.rpartition(".")[0] + "."


def unsigned(token: str) -> str:
    payload = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(payload, "", "none", headers={**jwt.get_unverified_header(token), "alg": "none"})


def signed_with_the_public_key(token: str, key: SigningKey) -> str:
    """Algorithm confusion: the public key, used as a shared secret."""
    payload = jwt.decode(token, options={"verify_signature": False})
    secret = key.public_jwk()["x"].encode() + b"=" * 32
    return jwt.encode(payload, secret, "HS256", headers={"typ": "at+jwt", "kid": key.kid})


@pytest.mark.requirement("mcp:validate", "oauth21:validate")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 1}, "expired"),
        ({"iat": int(time.time()) + 3600}, "not_yet_valid"),
        ({"iss": "https://evil.example"}, "wrong_issuer"),
        ({"iss": f"{ISSUER}/"}, "wrong_issuer"),
        ({"aud": (NOTES,)}, "wrong_audience"),
        ({"aud": (f"{TIME}/",)}, "wrong_audience"),
        ({"aud": (ISSUER,)}, "wrong_audience"),
        ({"jti": 7}, "bad_claims"),
    ],
)
def test_a_signed_token_with_one_wrong_claim_is_invalid(
    authz: AuthzProcess, redis: RedisServer, key: SigningKey, changes: dict[str, Any], reason: str
) -> None:
    with redis.client() as client:
        client.set(keyspace.token("wrong"), "grant-1", ex=600)
    answer = ask(authz, token=mint(key, **{"jti": "wrong", **changes}))
    assert_invalid(answer)
    assert authz.log()[-1]["reason"] == reason


def assert_invalid(answer: Answer) -> None:
    assert answer.status == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert f'resource_metadata="{METADATA}"' in answer.headers["www-authenticate"]
    assert answer.error == "invalid_token"


@pytest.mark.requirement("mcp:validate")
def test_forged_tokens_are_invalid(authz: AuthzProcess, issue: Issue, key: SigningKey) -> None:
    token = issue()
    head, payload, signature = token.split(".")
    stranger = generate_key("ES256", now=0)
    impostor = type(key)(key.kid, key.algorithm, stranger.private_key, key.created_at)
    forged = {
        "of an unknown key": mint(stranger, jti="x"),
        "under a known key's name": mint(impostor, jti="x"),
        "without a signature": without_signature(token),
        "with algorithm none": unsigned(token),
        "with the public key as a secret": signed_with_the_public_key(token, key),
        "with a changed payload": ".".join((head, payload[:-2] + "AA", signature)),
        "that is no token": "a.b.c",
        "that is very long": "a" * 100_000,
    }
    assert {name: ask(authz, token=made).status for name, made in forged.items()} == dict.fromkeys(forged, 401)
    assert ask(authz, token=token).status == 200


@pytest.mark.requirement("rfc6750:one-method")
def test_two_credentials_are_refused_even_if_both_are_valid(authz: AuthzProcess, issue: Issue) -> None:
    token = issue()
    assert_invalid(ask(authz, headers={"authorization": f"Bearer {token},Bearer {token}"}))
    raw = [("authorization", f"Bearer {token}".encode())]
    assert ask(authz, raw_headers=raw).status == 200
    assert_invalid(ask(authz, raw_headers=raw * 2))


@pytest.mark.requirement("mcp:no-token-in-query")
def test_a_token_in_the_url_is_refused_and_not_logged(authz: AuthzProcess, issue: Issue) -> None:
    token = issue()
    assert ask(authz, path=f"/time/mcp?access_token={token}").status == 400
    assert token not in authz.log_text()


@pytest.mark.requirement("oauth21:validate")
def test_a_token_without_the_scope_is_403_and_the_challenge_names_it(authz: AuthzProcess, issue: Issue) -> None:
    answer = ask(authz, token=issue(scope="mcp.notes"))
    assert (answer.status, answer.grpc_code) == (403, grpc.StatusCode.PERMISSION_DENIED.value[0])
    challenge = answer.headers["www-authenticate"]
    assert 'error="insufficient_scope"' in challenge
    assert 'scope="mcp.time"' in challenge
    assert f'resource_metadata="{METADATA}"' in challenge


@pytest.mark.requirement("mcp:audience")
@pytest.mark.requirement("best-practices:passthrough")
def test_a_token_for_one_service_is_refused_at_another(authz: AuthzProcess, issue: Issue) -> None:
    token = issue(aud=(TIME,), scope="mcp.time mcp.notes")
    assert ask(authz, token=token).status == 200
    assert ask(authz, path="/notes/mcp", token=token).status == 401


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("evil.example", "/time/mcp"),
        ("localhost", "/time/mcp"),
        ("localhost:8080", "/"),
        ("localhost:8080", "/time"),
        ("localhost:8080", "/time/mcpx"),
        ("localhost:8080", "/TIME/mcp"),
        ("localhost:8080", "/notes/mcp/../../time/mcp"),
        ("localhost:8080", "//time/mcp"),
        ("localhost:8080", "/time/mcp/%2e%2e/admin"),
        ("localhost:8080", "/token"),
    ],
)
def test_an_unknown_service_is_404_even_with_a_valid_token(
    authz: AuthzProcess, issue: Issue, host: str, path: str
) -> None:
    answer = ask(authz, host=host, path=path, token=issue())
    assert answer.status == 404
    assert "www-authenticate" not in answer.headers


def test_the_service_of_the_route_must_match_the_url(authz: AuthzProcess, issue: Issue) -> None:
    token = issue()
    assert ask(authz, token=token, extensions={"portcullis.service": "time"}).status == 200
    assert ask(authz, token=token, extensions={"portcullis.service": "notes"}).status == 404
    assert ask(authz, token=token, extensions={"portcullis.service": ""}).status == 404


def test_a_token_deleted_from_redis_is_refused_at_the_next_call(
    authz: AuthzProcess, redis: RedisServer, issue: Issue
) -> None:
    token = issue(jti="to-be-revoked")
    assert ask(authz, token=token).status == 200
    with redis.client() as client:
        end_token(client, "to-be-revoked")
    assert_invalid(ask(authz, token=token))
    assert authz.log()[-1]["reason"] == "revoked"


def test_a_signed_token_that_was_never_stored_is_refused(authz: AuthzProcess, key: SigningKey) -> None:
    assert_invalid(ask(authz, token=mint(key, jti="never-stored")))


def test_every_decision_is_recorded_and_no_token_is(authz: AuthzProcess, issue: Issue) -> None:
    good, bad = issue(jti="recorded"), issue(scope="mcp.notes", jti="recorded-too")
    ask(authz, token=good, path="/time/mcp?secret=in-the-query")
    ask(authz, token=bad)
    allowed, denied = authz.log()[-2:]
    common = {"service": "time", "method": "POST", "path": "/time/mcp", "source": "203.0.113.7", "audit": True}
    assert allowed.items() >= {**common, "event": "access.allowed", "jti": "recorded", "user": "octocat"}.items()
    assert denied.items() >= {**common, "event": "access.denied", "reason": "insufficient_scope"}.items()
    text = authz.log_text()
    assert "in-the-query" not in text
    assert not any(token.rpartition(".")[2] in text for token in (good, bad))


@pytest.mark.parametrize("message", [b"", b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x7f", check_request()[:-3]])
def test_a_malformed_message_is_answered_and_the_next_one_too(
    authz: AuthzProcess, issue: Issue, message: bytes
) -> None:
    answer = read_answer(authz.check(message))
    assert (answer.status, answer.error) == (400, "invalid_request")
    assert ask(authz, token=issue()).status == 200


def test_a_nested_message_of_great_depth_is_answered(authz: AuthzProcess) -> None:
    assert read_answer(authz.check(b"\x0a\x7f" * 50_000)).status == 400


def grpc_error(authz: AuthzProcess, message: bytes, **options: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        authz.check(message, **options)
    code: grpc.StatusCode = caught.value.code()
    return code


def test_an_oversized_message_is_refused_and_the_next_one_answered(authz: AuthzProcess, issue: Issue) -> None:
    huge = check_request(headers={"x-big": "a" * (2 * 1024 * 1024)}, token=issue())
    assert grpc_error(authz, huge) is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ask(authz, token=issue(), headers={"x-big": "a" * 100_000}).status == 200


def test_a_compressed_message_is_refused(authz: AuthzProcess, issue: Issue) -> None:
    bomb = check_request(headers={"x-big": "a" * (8 * 1024 * 1024)}, token=issue())
    assert grpc_error(authz, bomb, compression=grpc.Compression.Gzip) is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    "method",
    [
        "/envoy.service.auth.v3.Authorization/Other",
        "/envoy.service.auth.v2.Authorization/Check",
        "/nothing.at.all/Check",
    ],
)
def test_an_unknown_method_is_unimplemented(authz: AuthzProcess, method: str) -> None:
    assert grpc_error(authz, b"", method=method) is grpc.StatusCode.UNIMPLEMENTED


def test_health_is_reported_for_the_process_and_for_the_service(authz: AuthzProcess) -> None:
    assert authz.health() == "SERVING"
    assert authz.health("envoy.service.auth.v3.Authorization") == "SERVING"
    assert authz.health("something.else") == "NOT_FOUND"


def test_each_of_many_concurrent_callers_gets_its_own_answer(authz: AuthzProcess, issue: Issue) -> None:
    good = [issue(sub=f"user-{number}") for number in range(60)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda token: ask(authz, token=token), [*good, *["bad"] * 20]))
    assert [answer.headers.get("x-user-id") for answer in answers[:60]] == [f"user-{n}" for n in range(60)]
    assert {answer.status for answer in answers[60:]} == {401}


def test_cancelled_calls_do_no_harm(authz: AuthzProcess, issue: Issue) -> None:
    for _ in range(20):
        authz.start_check(check_request(token=issue())).cancel()
    assert ask(authz, token=issue()).status == 200


def test_a_token_of_an_unknown_key_is_refused_at_every_attempt(authz: AuthzProcess, issue: Issue) -> None:
    invented = mint(new_key(), jti="x")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda token: ask(authz, token=token), [invented] * 60))
    assert {answer.status for answer in answers} == {401}
    assert ask(authz, token=issue()).status == 200
