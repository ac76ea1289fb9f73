"""A request that Envoy sends several checks for: first with its headers, and then with its body."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from oauth_core.policy.rbac import RbacPolicy
from oauth_core.policy.resources import ServiceIndex
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import SERVICE
from tests.service.ext_authz.ruled_services import JSON, READ, RULED, WRITE, policy_of, subject, token
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from ext_authz.decision.check import Authorizer
    from oauth_core.jose.signing_keys import SigningKey

HEADERS = {"portcullis.service": "time", "portcullis.step": "headers"}
REFUSAL = HEADERS | {"portcullis.step": "refusal"}
BODY_FOLLOWS = {"portcullis.body_bytes": "1000"}
GO_ON = {"undecided", "refused"}


def call(tool: str = "get_time", **more: object) -> bytes:
    message = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": tool, **more}, "id": "call-7"}
    return json.dumps(message).encode()


async def ask(
    authorizer: Authorizer,
    credentials: str | None,
    extensions: dict[str, str],
    body: bytes = b"",
    **headers: str,
) -> Answer:
    sent = JSON | {name.replace("_", "-"): value for name, value in headers.items()}
    message = check_request(token=credentials, body=body, headers=sent, extensions=extensions)
    return read_answer(await authorizer.check(message))


async def test_a_valid_token_passes_the_header_check_undecided_and_is_decided_with_the_body(
    key: SigningKey,
) -> None:
    authorizer, sink = await subject(key, RULED, policy_of(READ))
    first = await ask(authorizer, token(key), HEADERS | BODY_FOLLOWS, content_length="100")
    assert (first.status, first.headers, first.removed) == (200, {}, ())
    assert first.metadata["decision"] == "undecided", "so that Envoy asks again"
    assert sink.events == [], "there is no decision to record yet"
    allowed = await ask(authorizer, token(key), {"portcullis.service": "time"}, call())
    assert allowed.metadata["decision"] == "allowed"
    denied = await ask(authorizer, token(key), {"portcullis.service": "time"}, call("set_time"))
    assert (denied.status, denied.json["id"]) == (403, "call-7")
    assert denied.json["error"]["message"] == "You may not do this here."


@pytest.mark.parametrize("step", [HEADERS, REFUSAL, HEADERS | BODY_FOLLOWS, REFUSAL | BODY_FOLLOWS])
async def test_without_a_valid_token_the_header_check_refuses(key: SigningKey, step: dict[str, str]) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    for credentials in (None, "garbage", mint(key, exp=1), mint(key, aud=("https://elsewhere.example",))):
        answer = await ask(authorizer, credentials, step)
        assert answer.status == 401
        assert answer.metadata["decision"] == "denied"


async def test_a_person_without_any_right_is_refused_by_the_next_check_with_the_request_id(
    key: SigningKey,
) -> None:
    for service in (SERVICE, RULED):
        authorizer, sink = await subject(key, service, policy_of("mcp.other"))
        follows = BODY_FOLLOWS if service is RULED else {}
        first = await ask(authorizer, token(key), HEADERS | follows)
        assert (first.status, first.headers, first.metadata["decision"]) == (200, {}, "refused")
        assert sink.events == []
        second = await ask(
            authorizer, token(key), REFUSAL | follows, call()[:60], x_envoy_auth_partial_body="true"
        )
        assert second.status == 403
        assert second.json["error"]["data"]["error"] == "access_denied"
        assert second.json["id"] is None, "the beginning does not contain it"
        second = await ask(authorizer, token(key), REFUSAL | follows, call())
        assert (second.status, second.json["id"]) == (403, "call-7")
        assert [event.reason for event in sink.events] == [DenyReason.FORBIDDEN_BY_POLICY] * 2


async def test_a_body_with_a_too_large_content_length_is_refused_with_the_id_from_its_beginning(
    key: SigningKey,
) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    first = await ask(authorizer, token(key), HEADERS | BODY_FOLLOWS, content_length="1001")
    assert first.metadata["decision"] == "refused"
    beginning = b'{"id":5,"jsonrpc":"2.0","method":"tools/call","params":{"na'
    second = await ask(
        authorizer,
        token(key),
        REFUSAL | BODY_FOLLOWS,
        beginning,
        content_length="1001",
        x_envoy_auth_partial_body="true",
    )
    assert (second.status, second.json["id"]) == (413, 5)


@pytest.mark.parametrize("size", [1, 999, 1000, 1001, 200_000])
async def test_a_complete_body_over_the_limit_of_the_route_is_refused_with_its_id(
    key: SigningKey, size: int
) -> None:
    authorizer, sink = await subject(key, RULED, policy_of(READ))
    body = call()[:size].ljust(size)
    answer = await ask(authorizer, token(key), {"portcullis.service": "time"} | BODY_FOLLOWS, body)
    if size > 1000:
        assert (answer.status, answer.json["id"]) == (413, "call-7")
        assert [event.reason for event in sink.events] == [DenyReason.BODY_PARTIAL]
    else:
        assert answer.status == (400 if size == 1 else 200)


async def test_with_rules_only_the_last_step_allows_a_call(key: SigningKey) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ, WRITE))
    for step in (HEADERS, REFUSAL):
        answer = await ask(authorizer, token(key), step | BODY_FOLLOWS, call())
        assert answer.metadata["decision"] in GO_ON
        # The service got its first rule after Envoy was configured: no filter with a body follows.
        answer = await ask(authorizer, token(key), step, call())
        assert answer.status == 503
        assert answer.metadata["reason"] == DenyReason.BODY_NOT_SENT


async def test_a_service_without_rules_is_decided_by_the_header_check(key: SigningKey) -> None:
    authorizer, _ = await subject(key, SERVICE, RbacPolicy.from_roles((), (SERVICE,)))
    for _ in range(2):  # the second comes from the cache
        answer = await ask(authorizer, token(key), HEADERS)
        assert answer.metadata["decision"] == "allowed"
        assert answer.identity["x-user-name"]
    authorizer.use(ServiceIndex([replace(RULED)]), policy_of(READ))
    assert (await ask(authorizer, token(key), HEADERS)).status in {400, 503}, "and not once it has rules"


@pytest.mark.parametrize(
    "request_id", [7, -1, 10**15, "seven", "x" * 200, 'say "hi"\n\\', "\u00fc\u202e\U0001f642", "%REQ(:path)%", ""]
)
async def test_an_undecided_request_has_its_id_as_json_for_the_answers_of_envoy(
    key: SigningKey, request_id: str | int
) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    body = json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "ping"}, ensure_ascii=False).encode()
    for step in ({"portcullis.service": "time"}, REFUSAL | BODY_FOLLOWS):
        answer = await ask(authorizer, token(key), step, body, content_length=str(len(body)))
        assert answer.status == 200
        assert answer.request_id is not None
        assert answer.request_id.isascii()
        assert answer.request_id.isprintable()
        assert json.loads(answer.request_id) == request_id


@pytest.mark.parametrize("member", ['"id":"' + "x" * 1000 + '",', '"id":99999999999999999999999,', ""])
async def test_an_id_beyond_the_limits_is_left_out(key: SigningKey, member: str) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    body = ("{" + member + '"jsonrpc":"2.0","method":"ping"}').encode()
    answer = await ask(authorizer, token(key), {"portcullis.service": "time"}, body)
    assert (answer.status, answer.request_id) == (200, None)


async def test_the_id_of_a_body_of_unknown_length_is_read_from_its_beginning(key: SigningKey) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    assert (await ask(authorizer, token(key), HEADERS | BODY_FOLLOWS)).metadata["decision"] == "refused"
    beginning = await ask(
        authorizer, token(key), REFUSAL | BODY_FOLLOWS, call()[:-5] + b"5", x_envoy_auth_partial_body="true"
    )
    assert beginning.metadata["decision"] == "undecided"
    beginning = await ask(
        authorizer, token(key), REFUSAL | BODY_FOLLOWS, b'{"id":5,"me', x_envoy_auth_partial_body="true"
    )
    assert (beginning.metadata["decision"], beginning.request_id) == ("undecided", "5")


async def test_a_bound_token_is_refused_with_the_id_when_the_body_is_read(key: SigningKey) -> None:
    bound = mint(key, dpop_key="k" * 43, iat=1_799_999_990, exp=1_800_000_100)
    credentials = f"DPoP {bound}"
    authorizer, _ = await subject(key, RULED, policy_of("mcp.other"))
    first = await ask(authorizer, None, HEADERS | BODY_FOLLOWS, authorization=credentials, content_length="100")
    assert first.metadata["decision"] == "refused", first
    refused = await ask(authorizer, None, REFUSAL | BODY_FOLLOWS, call(), authorization=credentials)
    assert (refused.status, refused.json["id"]) == (403, "call-7")
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    assert (
        await ask(authorizer, None, HEADERS | BODY_FOLLOWS, authorization=credentials, content_length="100")
    ).metadata["decision"] == "undecided"
    refused = await ask(authorizer, None, {"portcullis.service": "time"}, call(), authorization=credentials)
    assert (refused.status, refused.json["id"]) == (401, "call-7"), "and it has no valid proof"
