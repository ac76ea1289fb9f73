"""Permissions through a real Envoy with real clients: roles, tool rules, and policy changes."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.gateway import RunningGateway, running_gateway
from tests.support.mcp_clients import MCP_HEADERS, McpUser, bearer, challenge, claims_of, probe
from tests.support.oauth_client import OAuthClient, Pkce
from tests.system.gateway.ruled_service import PLAIN, READ, ROLES, SERVICES, TWICE, WRITE, call, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A gateway with roles and tool rules. A test that changes its file restores it."""
    with running_gateway(config=SERVICES + ROLES) as gateway:
        yield gateway


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Plain HTTP, to send exactly what a test needs."""
    async with httpx2.AsyncClient(timeout=60.0) as http:
        yield http


def config_of(gateway: RunningGateway) -> Path:
    return gateway.state_dir.parent / "portcullis.toml"


async def send(
    http: httpx2.AsyncClient,
    gateway: RunningGateway,
    token: str,
    body: bytes | dict[str, Any] | list[Any],
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**MCP_HEADERS, **bearer(token), **(headers or {})}
    return await http.post(gateway.resource("ruled"), content=content, headers=sent)


ECHO = """tools = { whoami = "mcp.ruled.read", "*" = "mcp.ruled.write", echo = [
  { needs = "mcp.ruled.read", arguments = { text = { glob = "hello*" } }, explanation = "Say hello first." },
  { needs = "mcp.ruled.write" },
] }"""
BY_ARGUMENTS = SERVICES.replace('tools = { whoami = "mcp.ruled.read", "*" = "mcp.ruled.write" }', ECHO)


async def test_rules_over_arguments_decide_on_each_call(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    assert BY_ARGUMENTS != SERVICES
    reader = await token_of(gateway, "octocat", "mcp.ruled")
    assert (await send(http, gateway, reader, call("echo", text="hello"))).status_code == 403
    file = config_of(gateway)
    try:
        file.write_text(BY_ARGUMENTS + ROLES, encoding="utf-8")
        await until_status(http, gateway, reader, "echo", {200, 202, 400}, text="hello")
        refused = await send(http, gateway, reader, {**call("echo", text="private words"), "id": "seven"})
        assert refused.status_code == 403
        error = refused.json()
        assert (error["id"], error["error"]["code"]) == ("seven", 403)
        assert error["error"]["message"] == (
            "You may not call this with these arguments: arguments.text must be a text that matches a pattern of "
            "the rule (Say hello first.)"
        )
        assert challenge(refused)["error"] == "access_denied"
        assert "scope" not in challenge(refused)
        denied = gateway.audited("ext_authz", event="access.denied", reason="arguments_not_allowed")
        assert denied["call"] == "tools/call echo"
        for arguments in (
            b'{"text":"hello","Text":"x"}',
            b'{"text":"hello","te\\u0078t\\u0000":"x"}',
            b'{"text":"hello "}',
            b'{"text":"hello","Arguments":1},"Arguments":{"text":"x"}',
            b'["hello"]',
        ):
            body = b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"echo","arguments":%s}}'
            ambiguous = await send(http, gateway, reader, body % arguments)
            assert ambiguous.status_code == 400, arguments
            assert ambiguous.json()["error"]["code"] == -32602, arguments
            assert ambiguous.json()["id"] == 5
        gateway.audited("ext_authz", event="access.denied", reason="ambiguous_arguments")
        writer = await token_of(gateway, "hubot", "mcp.ruled")
        assert (await send(http, gateway, writer, call("echo", text="private words"))).status_code not in {403}
        narrow = await token_of(gateway, "hubot", READ)
        more = await send(http, gateway, narrow, call("echo", text="private words"))
        assert challenge(more)["error"] == "insufficient_scope"
        assert challenge(more)["scope"].split() == [READ, WRITE]
        assert (await send(http, gateway, narrow, call("echo", text="hello you"))).status_code != 403
    finally:
        file.write_text(SERVICES + ROLES, encoding="utf-8")
    await until_status(http, gateway, reader, "echo", {403}, text="hello")


async def test_a_user_may_use_one_service_and_not_another(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    reader = await token_of(gateway, "octocat", "mcp.plain", "plain")
    writer = await token_of(gateway, "hubot", "mcp.plain", "plain")
    assert (await probe(http, gateway.resource("plain"), reader)).status_code == 200
    refused = await probe(http, gateway.resource("plain"), writer)
    assert refused.status_code == 403
    assert refused.json()["error"]["data"]["error"] == "access_denied"
    # No consent would help, so the client gets no challenge for one.
    assert set(challenge(refused)) == {"error", "error_description"}
    assert challenge(refused)["error"] == "access_denied"


@pytest.mark.parametrize(
    ("scope", "read", "unread"),
    [
        (READ, ["See &lt;who&gt; calls"], ["write"]),
        (WRITE, ["write"], ["See &lt;who&gt; calls"]),
        ("mcp.ruled mcp.plain", ["See &lt;who&gt; calls", "write"], ["plain"]),
    ],
)
async def test_the_consent_page_shows_the_requested_permissions_in_words(
    gateway: RunningGateway, scope: str, read: list[str], unread: list[str]
) -> None:
    async with OAuthClient(gateway.url) as client:
        registered = await client.register()
        page = await client.http.get(
            client.authorize_url(registered.client_id, Pkce.fresh().challenge, scope=scope)
        )
    assert all(f"<li>{words}</li>" in page.text for words in read)
    assert not any(f"<li>{words}</li>" in page.text for words in unread)
    assert f"({scope.split(' ', maxsplit=1)[0]})" in page.text, "and with its exact name"


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_calls_the_tools_that_its_user_may_use(gateway: RunningGateway, mode: str) -> None:
    user = McpUser(gateway.resource("ruled"), login="octocat")
    async with user.connected(mode) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} == {"whoami"}
        told = await client.call_tool("whoami", {})
        assert not told.is_error
        with pytest.raises(BaseException) as refused:  # noqa: PT011 - which one it is, is the SDK's to choose
            await client.call_tool("echo", {"text": "x"})
    assert "AssertionError" not in repr(refused.value)
    denied = [event for event in gateway.audit("ext_authz") if event["event"] == "access.denied"]
    assert denied[-1]["reason"] == "forbidden_by_policy"
    assert denied[-1]["call"] == "tools/call echo"
    assert len(user.visits) == 1


@pytest.mark.requirement("mcp:scope-consistency")
@pytest.mark.requirement("best-practices:scope-minimization")
async def test_the_challenge_names_all_scopes_that_a_new_consent_can_give(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    narrow = await token_of(gateway, "hubot", READ)
    assert (await send(http, gateway, narrow, call("whoami"))).status_code in {200, 400}  # 400 by the server
    refused = await send(http, gateway, narrow, call("echo", text="x"))
    assert refused.status_code == 403
    told = challenge(refused)
    assert told["error"] == "insufficient_scope"
    assert told["scope"].split() == [READ, WRITE]
    assert told["resource_metadata"].endswith("/.well-known/oauth-protected-resource/ruled/mcp")
    wide = await token_of(gateway, "hubot", told["scope"])
    assert claims_of(wide)["scope"].split() == [READ, WRITE]
    assert (await send(http, gateway, wide, call("echo", text="x"))).status_code != 403


ESCAPED = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","n\\u0061me":"echo"}}'
FOLDED = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"whoami","Name":"echo"}}'


@pytest.mark.requirement("mcp:header-body")
@pytest.mark.parametrize(
    "case",
    [
        (b"[" + PLAIN + b"]", {}, 400, "body_batch"),
        (TWICE, {}, 400, "body_unreadable"),
        (ESCAPED, {}, 400, "body_unreadable"),
        (FOLDED, {}, 400, "params_invalid"),
        (PLAIN + b"{}", {}, 400, "body_unreadable"),
        (b"\xef\xbb\xbf" + PLAIN, {}, 400, "body_unreadable"),
        (PLAIN.replace(b"whoami", b"whoami\xff"), {}, 400, "body_unreadable"),
        (PLAIN.replace(b'"arguments": {}', b'"arguments": NaN'), {}, 400, "body_unreadable"),
        (PLAIN.replace(b'"arguments": {}', b'"arguments": ' + b"[" * 40 + b"]" * 40), {}, 400, "body_unreadable"),
        (PLAIN.replace(b'"id": 1', b'"id": 1e999'), {}, 400, "body_unreadable"),
        (PLAIN.decode().encode("utf-16"), {}, 400, "body_unreadable"),
        (b"", {}, 400, "body_missing"),
        (gzip.compress(PLAIN), {"Content-Encoding": "gzip"}, 415, "body_encoded"),
        (PLAIN, {"Content-Type": "text/plain"}, 415, "body_not_json"),
        (PLAIN, {"Mcp-Method": "tools/list"}, 400, "header_mismatch"),
        (PLAIN, {"Mcp-Name": "echo"}, 400, "header_mismatch"),
        (PLAIN, {"Mcp-Name": "=?base64?ZWNobw==?="}, 400, "header_mismatch"),
        (json.dumps(call("whoami "))[:-1].encode() + b"}", {}, 400, "ambiguous_name"),
    ],
)
async def test_an_ambiguous_request_is_refused(
    gateway: RunningGateway, http: httpx2.AsyncClient, case: tuple[bytes, dict[str, str], int, str]
) -> None:
    body, headers, status, reason = case
    answer = await send(http, gateway, await shared_token(gateway), body, headers)
    assert answer.status_code == status
    denied = [event for event in gateway.audit("ext_authz") if event["event"] == "access.denied"]
    assert denied[-1]["reason"] == reason


_tokens: dict[str, str] = {}


async def shared_token(gateway: RunningGateway) -> str:
    """A token that may do everything at `ruled`, from one sign-in."""
    if gateway.url not in _tokens:
        _tokens[gateway.url] = await token_of(gateway, "hubot", "mcp.ruled")
    return _tokens[gateway.url]


async def reader_token(gateway: RunningGateway) -> str:
    """A token of a person who may only read at `ruled`, from one sign-in."""
    key = f"reader {gateway.url}"
    if key not in _tokens:
        _tokens[key] = await token_of(gateway, "octocat", "mcp.ruled")
    return _tokens[key]


@pytest.mark.requirement("sep-2243:encoded")
async def test_headers_that_agree_with_the_body_are_accepted(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    agreeing = {"Mcp-Method": "tools/call", "Mcp-Name": "=?base64?d2hvYW1p?="}
    token = await shared_token(gateway)
    answer = await send(http, gateway, token, PLAIN, agreeing)
    # The service may need a session, and report that with 400; the gateway lets the call through.
    assert "JSON-RPC message" not in answer.text
    assert answer.status_code not in {401, 403, 413, 415}


async def test_a_body_over_the_limit_is_413_at_a_service_with_rules_only(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    large = json.dumps(call("echo", text="x" * 200_000)).encode()
    assert (await send(http, gateway, await shared_token(gateway), large)).status_code == 413
    # Without rules a request may have any size.
    reader = await token_of(gateway, "octocat", "mcp.plain", "plain")
    sent = {**MCP_HEADERS, **bearer(reader)}
    answer = await http.post(gateway.resource("plain"), content=large, headers=sent)
    assert answer.status_code not in {401, 403, 413}


async def test_a_body_just_under_the_limit_is_decided(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    body = json.dumps(call("echo", text="x" * 120_000)).encode()
    narrow = await token_of(gateway, "octocat", "mcp.ruled")
    assert (await send(http, gateway, narrow, body)).status_code == 403
    allowed = await send(http, gateway, await shared_token(gateway), body)
    assert allowed.status_code not in {401, 403, 413}


@pytest.mark.parametrize(
    "uri",
    [
        *("file:/private/a", "file:private/a", "file://localhost/private/a", "file:///public/a?/../../private/a"),
        *(
            "file:///%70rivate/a",
            "file:///private%2Fa",
            "file:///public/%252e%252e/private/a",
            "file:///public\\..\\private",
        ),
        *("file:///private/%C3%BC", "file:///private/\u00fc b", "file:///public/..%20/private/a"),
    ],
)
async def test_no_spelling_of_a_uri_needs_less_than_its_rule(
    gateway: RunningGateway, http: httpx2.AsyncClient, uri: str
) -> None:
    reader = await reader_token(gateway)

    async def status(method: str, **params: object) -> int:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return (await send(http, gateway, reader, body)).status_code

    assert await status("resources/read", uri="file:/public/a") not in {401, 403}
    assert await status("resources/read", uri=uri) in {400, 403}
    assert await status("resources/read", uri="file:///private/a") == 403
    wanted = {"resourceSubscriptions": ["file:///public/a", uri]}
    assert await status("subscriptions/listen", notifications=wanted) in {400, 403}
    wanted = {"resourceSubscriptions": ["file:///public/a", "file:///private/a"]}
    assert await status("subscriptions/listen", notifications=wanted) == 403


@pytest.mark.parametrize(
    "name", ["My%20Notes", "My Notes", "C%23", "C#", "what%3F", "100%25", "\u00fc", "%c3%bc", "\U0001fae9", "%41"]
)
async def test_resource_names_of_real_servers_reach_the_service(
    gateway: RunningGateway, http: httpx2.AsyncClient, name: str
) -> None:
    body = {"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": f"file:///public/{name}"}}
    answer = await send(http, gateway, await reader_token(gateway), body)
    assert "jsonrpc" in answer.text
    assert "error_description" not in answer.text, "the service answers, not the gateway"


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
async def test_with_rules_no_path_below_the_endpoint_is_reachable(
    gateway: RunningGateway, http: httpx2.AsyncClient, method: str
) -> None:
    async def status(service: str, token: str) -> int:
        content = PLAIN if method == "POST" else None
        url = f"{gateway.resource(service)}/admin/delete_everything"
        return (
            await http.request(method, url, content=content, headers={**MCP_HEADERS, **bearer(token)})
        ).status_code

    assert await status("ruled", await shared_token(gateway)) == 404
    denied = await http.request(method, f"{gateway.resource('ruled')}/x")
    assert denied.status_code == 404, "and without a token the answer is the same"
    plain = await token_of(gateway, "octocat", "mcp.plain", "plain")
    assert await status("plain", plain) == 404, "the example server has no such path"
    assert "Not Found" in (await http.get(f"{gateway.resource('plain')}/x", headers=bearer(plain))).text


async def test_a_trailing_slash_on_the_endpoint_makes_no_difference(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    slashed = f"{gateway.resource('plain')}/"
    refused = await http.post(slashed)
    assert refused.status_code == 401
    metadata = (await http.get(challenge(refused)["resource_metadata"])).json()
    assert metadata["resource"] == slashed, "the identifier that the client requested (RFC 9728 section 3.3)"
    async with OAuthClient(gateway.url) as client:
        registered = await client.register()
        tokens = await client.tokens(registered.client_id, resource=slashed)
    assert claims_of(tokens["access_token"])["aud"] in (gateway.resource("plain"), [gateway.resource("plain")])
    answer = await probe(http, slashed, tokens["access_token"])
    assert answer.status_code == 200, answer.text
    assert "location" not in answer.headers


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_sdk_can_use_a_service_url_with_a_trailing_slash(gateway: RunningGateway, mode: str) -> None:
    user = McpUser(f"{gateway.resource('plain')}/", login="octocat")
    async with user.connected(mode) as client:
        assert not (await client.call_tool("whoami", {})).is_error


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS"])
async def test_other_methods_reach_no_service_with_rules(
    gateway: RunningGateway, http: httpx2.AsyncClient, method: str
) -> None:
    headers = {**MCP_HEADERS, **bearer(await shared_token(gateway))}
    answer = await http.request(method, gateway.resource("ruled"), content=PLAIN, headers=headers)
    assert answer.status_code == 405


async def until_status(
    http: httpx2.AsyncClient, gateway: RunningGateway, token: str, tool: str, wanted: set[int], *, text: str = "x"
) -> None:
    """Wait until every worker gives this answer."""
    async with asyncio.timeout(60):
        in_a_row = 0
        while in_a_row < 10:
            answer = await send(http, gateway, token, call(tool, text=text))
            in_a_row = in_a_row + 1 if answer.status_code in wanted else 0
            await asyncio.sleep(0.02)


async def test_a_change_of_the_file_applies_to_tokens_already_issued(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    token = await token_of(gateway, "octocat", "mcp.ruled")
    assert (await send(http, gateway, token, call("echo", text="x"))).status_code == 403
    file = config_of(gateway)
    changed = ROLES.replace('users = ["hubot"]', 'users = ["hubot", "octocat"]')
    try:
        file.write_text(SERVICES + changed, encoding="utf-8")
        await until_status(http, gateway, token, "echo", {200, 202, 400})
        # An invalid file changes nothing, and is recorded.
        seen = len(gateway.audit("ext_authz"))
        file.write_text(SERVICES + changed.replace("mcp.ruled.read", "mcp.ruled.raed"), encoding="utf-8")
        refusal = gateway.audited("ext_authz", after=seen, event="policy.refused")
        assert "mcp.ruled.raed" in refusal["reason"]
        assert (await send(http, gateway, token, call("echo", text="x"))).status_code != 403
        # Neither does an incomplete file without the roles.
        seen = len(gateway.audit("ext_authz"))
        file.write_text(SERVICES, encoding="utf-8")
        gateway.audited("ext_authz", after=seen, event="policy.refused")
        writer = await token_of(gateway, "hubot", "mcp.plain", "plain")
        assert (await probe(http, gateway.resource("plain"), writer)).status_code == 403
    finally:
        file.write_text(SERVICES + ROLES, encoding="utf-8")
    await until_status(http, gateway, token, "echo", {403})
