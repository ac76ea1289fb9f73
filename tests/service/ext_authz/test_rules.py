"""Tool rules and policy changes at the check itself: a decision under another policy is never used."""

from __future__ import annotations

import asyncio
import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from oauth_core.model import ArgumentCondition, NameRule, ToolRules, Way
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.rbac import RbacPolicy, Role
from oauth_core.policy.resources import ServiceIndex
from oauth_core.refusals import DenyReason
from tests.service.ext_authz.authorizers import SERVICE, CachedStatus
from tests.service.ext_authz.ruled_services import JSON, READ, RULED, WRITE, policy_of, subject, token
from tests.support.check_messages import Answer, check_request, read_answer
from tests.support.tokens import mint

if TYPE_CHECKING:
    from oauth_core.jose.signing_keys import SigningKey
    from oauth_core.model import Service


def call(token: str, tool: str) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool}}).encode()
    return check_request(token=token, body=body, headers=JSON)


async def test_one_token_may_call_one_tool_and_not_another_at_every_attempt(key: SigningKey) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    mine = token(key)
    for _ in range(3):
        assert read_answer(await authorizer.check(call(mine, "get_time"))).status == 200
        assert read_answer(await authorizer.check(call(mine, "set_time"))).status == 403
        answer = authorizer.check_now(call(mine, "set_time"))
        assert isinstance(answer, bytes)
        assert read_answer(answer).status == 403


@pytest.mark.requirement("mcp:insufficient-scope-all")
async def test_the_challenge_names_all_missing_scopes(key: SigningKey) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ, WRITE))
    refused = read_answer(await authorizer.check(call(token(key, READ), "set_time")))
    assert refused.status == 403
    assert f'scope="{READ} {WRITE}"' in refused.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("method", "is_list"),
    [("tools/list", True), ("Tools/List", True), ("RESOURCES/TEMPLATES/LIST", True), ("tools/lists", False)],
)
async def test_a_list_is_filtered_however_its_method_is_spelled(
    key: SigningKey, method: str, *, is_list: bool
) -> None:
    service = replace(RULED, rules=ToolRules(tools=(NameRule("*", (WRITE,)),), otherwise=(READ,)))
    authorizer, _ = await subject(key, service, policy_of(READ))
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method}).encode()
    answer = read_answer(await authorizer.check(check_request(token=token(key), body=body, headers=JSON)))
    assert answer.status == 200
    # Only an answer that is filtered must not be compressed.
    assert (answer.headers.get("accept-encoding") == "identity") == is_list


async def test_a_new_policy_applies_to_a_token_that_was_allowed_before(key: SigningKey) -> None:
    authorizer, sink = await subject(key, SERVICE, RbacPolicy.from_roles((), (SERVICE,)))
    request = check_request(token=token(key))
    for _ in range(2):
        assert read_answer(await authorizer.check(request)).status == 200
    nobody = RbacPolicy.from_roles(
        (Role("r", Permissions(frozenset({"mcp.time"})), users=frozenset({"hubot"})),), (SERVICE,)
    )
    # The same services: only the policy differs.
    authorizer.use(ServiceIndex([SERVICE]), nobody)
    for _ in range(2):
        assert read_answer(await authorizer.check(request)).status == 403
    assert sink.events[-1].reason == DenyReason.FORBIDDEN_BY_POLICY
    authorizer.use(ServiceIndex([SERVICE]), RbacPolicy.from_roles((), (SERVICE,)))
    assert read_answer(await authorizer.check(request)).status == 200


async def test_new_rules_of_a_service_apply_to_tokens_that_were_allowed_before(key: SigningKey) -> None:
    authorizer, _ = await subject(key, SERVICE, RbacPolicy.from_roles((), (SERVICE,)))
    mine = token(key)
    assert read_answer(await authorizer.check(check_request(token=mine))).status == 200
    authorizer.use(ServiceIndex([RULED]), policy_of(READ))
    # Envoy does not send bodies yet: that must not bypass the rules.
    refused = read_answer(await authorizer.check(check_request(token=mine)))
    assert refused.status == 400
    assert read_answer(await authorizer.check(call(mine, "get_time"))).status == 200


async def test_a_check_that_waits_during_a_policy_change_is_decided_by_the_new_policy(key: SigningKey) -> None:
    token_status = CachedStatus()
    token_status.held = asyncio.Event()
    authorizer, _ = await subject(key, RULED, policy_of(READ), token_status)
    mine = token(key)
    waiting = asyncio.create_task(authorizer.check(call(mine, "get_time")))
    await asyncio.sleep(0)
    authorizer.use(ServiceIndex([RULED]), policy_of(READ, user="hubot"))
    token_status.held.set()
    assert read_answer(await waiting).status == 403
    # No verdict of the old one is cached either.
    assert read_answer(await authorizer.check(call(mine, "get_time"))).status == 403


@pytest.mark.parametrize("partial", ["true", "TRUE", "1", ""])
async def test_a_body_of_which_envoy_sent_only_a_part_is_413(key: SigningKey, partial: str) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    body = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
    headers = JSON | {"x-envoy-auth-partial-body": partial}
    assert (
        read_answer(await authorizer.check(check_request(token=token(key), body=body, headers=headers))).status
        == 413
    )


async def test_without_a_valid_token_the_body_is_not_read(
    key: SigningKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the body was read")

    monkeypatch.setattr("oauth_core.policy.mcp_request.parse_request", never)
    authorizer, _ = await subject(key, RULED, policy_of(READ))
    for credentials in (None, "garbage", mint(key, exp=1)):
        assert read_answer(await authorizer.check(check_request(token=credentials, body=b"{}"))).status == 401


FILES = replace(
    RULED,
    rules=ToolRules(
        resources=(NameRule("file:///private/*", (READ, WRITE)), NameRule("file:///*", (READ,))),
        methods=(NameRule("tasks/*", (WRITE,)),),
    ),
)


def ask(token: str, method: str, **params: object) -> bytes:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
    return check_request(token=token, body=body, headers=JSON)


@pytest.mark.parametrize(
    "uri", ["file:///private/a", "file:/private/a", "file://localhost/private/a", "file:///x?/../../private/a"]
)
async def test_no_spelling_of_a_uri_bypasses_its_rule(key: SigningKey, uri: str) -> None:
    authorizer, _ = await subject(key, FILES, policy_of(READ))
    mine = token(key)
    assert read_answer(await authorizer.check(ask(mine, "resources/read", uri="file:///x"))).status == 200
    assert read_answer(await authorizer.check(ask(mine, "resources/read", uri=uri))).status in {400, 403}
    subscription = {"resourceSubscriptions": ["file:///x", uri]}
    listening = await authorizer.check(ask(mine, "subscriptions/listen", notifications=subscription))
    assert read_answer(listening).status in {400, 403}


@pytest.mark.parametrize(
    "host", ["public@private", "private:80", "private.", "me:x@private.:80", "public-notes@private"]
)
async def test_no_user_name_port_or_dot_makes_a_uri_bypass_the_rule_of_its_host(
    key: SigningKey, host: str
) -> None:
    rules = [("note://public*", READ), ("note://private:*", READ), ("note://private/*", WRITE), ("*", READ)]
    notes = replace(RULED, rules=ToolRules(resources=tuple(NameRule(name, (need,)) for name, need in rules)))
    authorizer, _ = await subject(key, notes, policy_of(READ))
    for uri, status in (("note://public/a", 200), ("note://private/a", 403), (f"note://{host}/a", 403)):
        answer = await authorizer.check(ask(token(key), "resources/read", uri=uri))
        assert read_answer(answer).status == status, uri


async def test_of_two_overlapping_rules_both_must_allow(key: SigningKey) -> None:
    rules = (NameRule("*_secret", (WRITE,)), NameRule("get_the_*", (READ,)))
    authorizer, _ = await subject(key, replace(RULED, rules=ToolRules(tools=rules)), policy_of(READ))
    for name, status in (("get_the_time", 200), ("a_secret", 403), ("get_the_secret", 403)):
        answer = await authorizer.check(ask(token(key), "tools/call", name=name))
        assert read_answer(answer).status == status, name


async def test_every_resource_of_a_subscription_is_checked(key: SigningKey) -> None:
    authorizer, _ = await subject(key, FILES, policy_of(READ))
    mine = token(key)

    async def listen(**wanted: object) -> int:
        return read_answer(await authorizer.check(ask(mine, "subscriptions/listen", notifications=wanted))).status

    assert await listen() == 200
    assert await listen(toolsListChanged=True, resourceSubscriptions=["file:///x", "file:///y"]) == 200
    assert await listen(resourceSubscriptions=["file:///x", "file:///private/a"]) == 403
    assert await listen(resourceSubscriptions=["https://elsewhere/x"]) == 403, "no rule matches it"
    assert await listen(taskIds=["t1"]) == 403, "and neither do names that an extension adds"
    assert await listen(ResourceSubscriptions=["file:///private/a"]) == 400, "Go reads it as the member"
    assert await listen(resourceSubscriptions=["file:///x"] * 101) == 400, "each resource costs time"
    assert await listen(resourceSubscriptions="file:///private/a") == 400


async def test_every_kind_of_stream_gets_the_timeout_of_a_stream(key: SigningKey) -> None:
    mine = mint(key, iat=1_799_999_990, exp=1_800_003_000)

    async def milliseconds(service: Service, method: str, headers: dict[str, str], body: bytes = b"") -> int:
        authorizer, _ = await subject(key, service, RbacPolicy.from_roles((), (service,)))
        message = check_request(token=mine, method=method, headers=JSON | headers, body=body)
        # the second comes from the cache
        answers = [read_answer(await authorizer.check(message)) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 200]
        first, second = (answer.headers["x-envoy-upstream-rq-timeout-ms"] for answer in answers)
        assert first == second
        return int(first)

    newer = {"mcp-protocol-version": "2026-07-28"}
    assert await milliseconds(SERVICE, "GET", {}) == 300_000
    assert await milliseconds(SERVICE, "POST", {"mcp-method": "subscriptions/listen", **newer}) == 300_000
    assert await milliseconds(SERVICE, "POST", newer) == 300_000, "the method is not known"
    assert await milliseconds(SERVICE, "POST", {"mcp-method": "tools/call", **newer}) == 900_000
    assert await milliseconds(SERVICE, "POST", {"mcp-protocol-version": "2025-11-25"}) == 900_000
    listen = b'{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen"}'
    assert await milliseconds(FILES, "POST", {}, listen) == 300_000, "the body has the method"


IN_P = ArgumentCondition("path", ("path",), paths=(("", "p", "**"),))
BOUNDED = replace(
    RULED,
    rules=ToolRules(
        tools=(
            NameRule("*", (WRITE,)),
            NameRule(
                "read",
                (),
                (
                    Way(
                        (READ,),
                        (ArgumentCondition("path", ("path",), paths=(("", "p", "**"),)),),
                        explanation="Zoë",
                    ),
                    Way((WRITE,)),
                ),
            ),
        ),
    ),
)


async def test_a_call_with_other_arguments_is_refused_and_the_answer_describes_them(key: SigningKey) -> None:
    authorizer, sink = await subject(key, BOUNDED, policy_of(READ))
    mine = token(key)

    async def read(**arguments: object) -> Answer:
        return read_answer(await authorizer.check(ask(mine, "tools/call", name="read", arguments=arguments)))

    assert (await read(path="/p/a")).status == 200
    refused = await read(path="/etc/secret-value")
    assert refused.status == 403
    error = json.loads(refused.body)
    assert (error["id"], error["error"]["code"]) == (1, 403)
    assert error["error"]["message"] == (
        "You may not call this with these arguments: arguments.path must be a path that matches a pattern of the "
        "rule (Zoë)"
    )
    assert "secret-value" not in refused.body
    assert refused.headers["www-authenticate"].isascii()
    assert 'error="access_denied"' in refused.headers["www-authenticate"]
    assert "scope=" not in refused.headers["www-authenticate"]
    assert sink.events[-1].reason == DenyReason.ARGUMENTS_NOT_ALLOWED
    assert sink.events[-1].call == "tools/call read"
    ambiguous = await read(path="/p/../etc")
    assert (ambiguous.status, json.loads(ambiguous.body)["error"]["code"]) == (400, -32602)
    assert sink.events[-1].reason == DenyReason.AMBIGUOUS_ARGUMENTS
    # No text that depends on arguments is kept.
    assert (await read(path="/p/a", Path="/q")).status == 400
    assert (await read(path="/p/a")).status == 200


async def test_scopes_are_requested_if_a_permission_would_open_a_way(key: SigningKey) -> None:
    authorizer, _ = await subject(key, BOUNDED, policy_of(READ, WRITE))
    asked = ask(token(key, READ), "tools/call", name="read", arguments={"path": "/etc"})
    refused = read_answer(await authorizer.check(asked))
    assert refused.status == 403
    assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
    assert f'scope="{READ} {WRITE}"' in refused.headers["www-authenticate"]


async def test_new_rules_over_arguments_apply_to_the_next_call(key: SigningKey) -> None:
    authorizer, _ = await subject(key, RULED, policy_of(READ, WRITE))
    asked = ask(token(key), "tools/call", name="read", arguments={"path": "/etc"})
    assert read_answer(await authorizer.check(asked)).status == 200
    authorizer.use(ServiceIndex([BOUNDED]), policy_of(READ))
    assert read_answer(await authorizer.check(asked)).status == 403


@pytest.mark.parametrize("service", [SERVICE, RULED])
@pytest.mark.parametrize("is_refused", [False, True])
async def test_envoy_gets_the_method_and_name_of_a_call_with_their_origin(
    key: SigningKey, service: Service, is_refused: bool
) -> None:
    policy = policy_of(READ, user="nobody") if is_refused else RbacPolicy.from_roles((), (service,))
    authorizer, _ = await subject(key, service, policy)
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_\u00fc"}}
    ).encode()
    headers = JSON | {"mcp-method": "tools/call", "mcp-name": "=?base64?Z2V0X8O8?="}
    answer = read_answer(
        await authorizer.check(
            check_request(token=token(key), body=body if service.rules else b"", headers=headers)
        )
    )
    assert answer.status == (403 if is_refused else 200)
    assert answer.called == ("tools/call", "get_\u00fc", None if service.rules else True)


async def test_a_request_that_names_no_method_gives_envoy_none(key: SigningKey) -> None:
    authorizer, _ = await subject(key, SERVICE, RbacPolicy.from_roles((), (SERVICE,)))
    assert read_answer(await authorizer.check(check_request(token=token(key)))).called == (None, None, None)
    unknown = read_answer(await authorizer.check(check_request(headers={"mcp-method": "tools/list"})))
    assert (unknown.status, unknown.called) == (401, ("tools/list", None, True))


@pytest.mark.parametrize(
    ("claimed", "logged"),
    [
        ('a\n{"user":"x"}\r\x1b[31m', 'a\ufffd{"user":"x"}\ufffd\ufffd[31m'),
        ("a\u2028b\u202ec\x85d\u200b", "a\ufffdb\ufffdc\ufffdd\ufffd"),
        ("\u00fc" * 1000, "\u00fc" * 256),
        ("x" * 256 + "\n", "x" * 256),
    ],
)
async def test_a_claimed_name_can_forge_no_line_and_fill_no_log(
    key: SigningKey, claimed: str, logged: str
) -> None:
    authorizer, _ = await subject(key, SERVICE, RbacPolicy.from_roles((), (SERVICE,)))
    name = f"=?base64?{base64.b64encode(claimed.encode()).decode()}?="
    headers = {"mcp-method": "tools/call", "mcp-name": name}
    answer = read_answer(await authorizer.check(check_request(token=token(key), headers=headers)))
    assert answer.called == ("tools/call", logged, True)
    # The same in the field with bytes, which some configurations of Envoy use.
    raw = [(part, value.encode()) for part, value in headers.items()]
    answer = read_answer(await authorizer.check(check_request(token=token(key), raw_headers=raw)))
    assert answer.called == ("tools/call", logged, True)
