"""The answers to MCP clients when the gateway refuses, and the memory that Envoy uses before the caller is
authenticated.
"""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx2
import pytest

from oauth_core.settings.envoy import SMALLEST_BODY_BUFFER
from tests.support.gateway import RunningGateway, running_gateway
from tests.support.mcp_clients import MCP_HEADERS, bearer, challenge
from tests.system.gateway.ruled_service import PLAIN, ROLES, SERVICES, TWICE, call, token_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LARGE = json.dumps(call("echo", text="x" * 200_000)).encode()
"""Over `max_checked_bytes`, which is 128 KiB."""
MORE_THAN_ENVOY_HOLDS = json.dumps(call("echo", text="x" * SMALLEST_BODY_BUFFER)).encode()


OUT_OF_REACH = """
[[services]]
name = "away"
upstream = "http://127.0.0.1:1/mcp"
[services.permissions]
tools = { "*" = "mcp.away.all" }

[[services]]
name = "gone"
upstream = "http://127.0.0.1:1/mcp"
"""


@pytest.fixture(scope="module")
def gateway() -> Iterator[RunningGateway]:
    """A gateway with a service that has rules and one that has none, and two more that do not run."""
    roles = ROLES.replace('["mcp.ruled"]', '["mcp.ruled", "mcp.away", "mcp.gone"]')
    with running_gateway(config=SERVICES + OUT_OF_REACH + roles) as gateway:
        yield gateway


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    """Plain HTTP."""
    async with httpx2.AsyncClient(timeout=60.0) as http:
        yield http


_tokens: dict[tuple[str, str], str] = {}


async def token(gateway: RunningGateway, login: str, service: str = "ruled") -> str:
    """A token for `service`, from one sign-in. `hubot` may do everything at `ruled`, `octocat` may read."""
    if (login, service) not in _tokens:
        _tokens[login, service] = await token_of(gateway, login, f"mcp.{service}", service)
    return _tokens[login, service]


def told(answer: httpx2.Response) -> tuple[object, int]:
    """The id and the code of the JSON-RPC error, after a check of its form."""
    assert answer.headers["content-type"] == "application/json", answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert set(body) == {"jsonrpc", "id", "error"}, "a response and nothing else"
    assert body["jsonrpc"] == "2.0"
    assert set(body["error"]) == {"code", "message", "data"}
    assert body["error"]["message"].endswith("."), "a sentence for people"
    return body["id"], body["error"]["code"]


async def post(
    http: httpx2.AsyncClient,
    url: str,
    token: str | None,
    content: Any = PLAIN,
    headers: dict[str, str] | None = None,
) -> httpx2.Response:
    sent = {**MCP_HEADERS, **(bearer(token) if token else {}), **(headers or {})}
    return await http.post(url, content=content, headers=sent)


@pytest.mark.parametrize(
    "case",
    [
        ("octocat", json.dumps(call("echo")).encode(), {}, 403, (1, 403)),
        ("octocat", json.dumps({**call("echo"), "id": "seven"}).encode(), {}, 403, ("seven", 403)),
        ("hubot", LARGE, {}, 413, (1, 413)),
        ("hubot", PLAIN, {"Content-Type": "text/plain"}, 415, (1, 415)),
        ("hubot", TWICE, {}, 400, (1, -32700)),
        ("hubot", b"[" + PLAIN + b"]", {}, 400, (None, -32600)),
        ("hubot", b"[]", {}, 400, (None, -32600)),
        ("hubot", b"{", {}, 400, (None, -32700)),
        ("hubot", PLAIN.replace(b'"params"', b'"params":null,"x"'), {}, 400, (1, -32600)),
        ("hubot", b'{"jsonrpc":"2.0","id":"a","method":"ping","params":null}', {}, 400, ("a", -32600)),
        ("hubot", b'{"jsonrpc":"2.0","id":2,"method":"ping","params":[]}', {}, 400, (2, -32602)),
        ("hubot", b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', {}, 400, (None, -32600)),
        ("hubot", b'{"jsonrpc":"2.0","id":null,"method":"ping"}', {}, 400, (None, -32600)),
        ("hubot", b'{"jsonrpc":"2.0","id":3,"method":"ping","extra":1}', {}, 400, (3, -32600)),
        ("hubot", json.dumps(call("whoami", text="\ud800")).encode(), {}, 400, (1, -32600)),
        ("hubot", json.dumps(call(["whoami"])).encode(), {}, 400, (1, -32602)),  # type: ignore[arg-type]
        ("hubot", json.dumps(call("whoami ")).encode(), {}, 400, (1, -32602)),
        ("hubot", PLAIN, {"Mcp-Method": "tools/list"}, 400, (1, -32020)),
        ("hubot", PLAIN, {"Mcp-Name": "echo"}, 400, (1, -32020)),
        ("hubot", PLAIN, {"Origin": "https://evil.example"}, 403, (None, 403)),
        (None, PLAIN, {}, 401, (None, 401)),
    ],
)
async def test_a_refusal_is_a_json_rpc_error_with_the_id_if_the_body_was_read(
    gateway: RunningGateway,
    http: httpx2.AsyncClient,
    case: tuple[str | None, bytes, dict[str, str], int, tuple[object, int]],
) -> None:
    login, body, headers, status, wanted = case
    credentials = await token(gateway, login) if login else None
    answer = await post(http, gateway.resource("ruled"), credentials, body, headers)
    assert answer.status_code == status
    assert told(answer) == wanted
    if status == 401:
        assert challenge(answer)["resource_metadata"]


async def test_envoys_own_answers_have_the_same_form(gateway: RunningGateway, http: httpx2.AsyncClient) -> None:
    mine = await token(gateway, "hubot")
    ruled = gateway.resource("ruled")

    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    for body in (LARGE, MORE_THAN_ENVOY_HOLDS):
        unannounced = await post(http, ruled, mine, pieces(body))
        assert (unannounced.status_code, told(unannounced)) == (413, (1, 413)), "its beginning has been read"
    below = await post(http, f"{ruled}/x", mine)
    assert (below.status_code, told(below)) == (404, (None, 404))
    for method in ("PUT", "PATCH"):
        other = await http.request(method, gateway.resource("plain"), headers=bearer(mine))
        assert other.status_code == 401, "a token for another service"
        assert told(other) == (None, 401)
    plain = await token(gateway, "octocat", "plain")
    other = await http.request("PUT", gateway.resource("plain"), headers=bearer(plain))
    assert (other.status_code, told(other)) == (405, (None, 405))
    assert other.headers["allow"] == "GET, POST, DELETE"
    text = await post(http, gateway.resource("plain"), plain, headers={"Content-Type": "text/plain"})
    assert (text.status_code, told(text)) == (415, (None, 415))


@pytest.mark.parametrize(
    "request_id",
    [
        0,
        -5,
        2**53 + 1,
        "",
        "seven",
        'say "hi"\n\\',
        "\u00fc \u202e \U0001f642",
        "%REQ(:path)% %%",
        "</script>",
        "x" * 256,
    ],
)
async def test_an_unreachable_service_is_reported_with_the_id_of_the_request(
    gateway: RunningGateway, http: httpx2.AsyncClient, request_id: str | int
) -> None:
    mine = await token(gateway, "hubot", "away")
    for ensure_ascii in (True, False):
        body = json.dumps({**call("x"), "id": request_id}, ensure_ascii=ensure_ascii).encode()
        answer = await post(http, gateway.resource("away"), mine, body)
        assert (answer.status_code, told(answer)) == (503, (request_id, 503))
        assert answer.headers["retry-after"]


async def test_an_id_that_cannot_be_repeated_is_null_in_the_answer_of_envoy(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    mine = await token(gateway, "hubot", "away")
    for request_id in ("x" * 257, "\ud800", 2**64):
        answer = await post(http, gateway.resource("away"), mine, json.dumps({**call("x"), "id": request_id}))
        assert (answer.status_code in {400, 503}, told(answer)[0]) == (True, None)
    notification = await post(
        http, gateway.resource("away"), mine, b'{"jsonrpc":"2.0","method":"notifications/x"}'
    )
    assert (notification.status_code, told(notification)) == (503, (None, 503))
    # Without rules no body is read.
    answer = await post(http, gateway.resource("gone"), await token(gateway, "hubot", "gone"))
    assert (answer.status_code, told(answer)) == (503, (None, 503))


async def test_a_method_without_a_rule_is_answered_by_the_service_or_needs_more_scope(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": 9, "method": "does/not_exist"}).encode()
    everything = await post(http, gateway.resource("ruled"), await token(gateway, "hubot"), body)
    assert "jsonrpc" in everything.text
    assert "error_description" not in everything.text, "the service answers, not the gateway"
    reading = await token_of(gateway, "hubot", "mcp.ruled.read")
    some = await post(http, gateway.resource("ruled"), reading, body)
    assert (some.status_code, told(some)) == (403, (9, 403))
    assert challenge(some)["error"] == "insufficient_scope"
    assert challenge(some)["scope"].split() == ["mcp.ruled.read", "mcp.ruled.write"]
    more = await token_of(gateway, "hubot", challenge(some)["scope"])
    assert (await post(http, gateway.resource("ruled"), more, body)).text == everything.text
    # For a person who may not have all of them no consent would help.
    other = await post(http, gateway.resource("ruled"), await token(gateway, "octocat"), body)
    assert (other.status_code, challenge(other)["error"]) == (403, "access_denied")


async def test_a_refusal_at_a_service_without_rules_has_the_id_too(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    forbidden = await token_of(gateway, "hubot", "mcp.plain", "plain")
    answer = await post(http, gateway.resource("plain"), forbidden, json.dumps({**call("x"), "id": 41}).encode())
    assert (answer.status_code, told(answer)) == (403, (41, 403))
    large = await post(http, gateway.resource("plain"), forbidden, LARGE)
    assert (large.status_code, told(large)) == (403, (1, 403)), "only its beginning was read"
    denied = [event for event in gateway.audit("ext_authz") if event.get("reason") == "forbidden_by_policy"]
    assert len([event for event in denied if event["service"] == "plain"]) == 2, (
        "each is recorded once, however often Envoy asks"
    )


async def test_pages_and_endpoints_for_sign_in_keep_their_own_error_format(
    gateway: RunningGateway, http: httpx2.AsyncClient
) -> None:
    answer = await http.post(f"{gateway.url}/token", data={"grant_type": "nonsense"})
    assert answer.json()["error"] in {"unsupported_grant_type", "invalid_client", "invalid_request"}
    assert "jsonrpc" not in (await http.get(f"{gateway.url}/nowhere")).text


CONNECTIONS = 80
SENT = 120_000


@pytest.mark.parametrize("credentials", [None, "garbage", "elsewhere"])
async def test_without_a_valid_token_envoy_buffers_no_body(
    gateway: RunningGateway, credentials: str | None
) -> None:
    if credentials == "elsewhere":
        credentials = await token(gateway, "octocat", "plain")
    url = urlsplit(gateway.resource("ruled"))
    authorization = f"Authorization: Bearer {credentials}\r\n" if credentials else ""
    head = (
        f"POST {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Type: application/json\r\n{authorization}"
        f"Content-Length: {SENT + 5000}\r\n\r\n"
    ).encode()
    before = allocated(gateway)
    connections = []
    try:
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", url.port or 80), timeout=60)
            connections.append(connection)
            connection.sendall(head + b"x" * 1000)
            # The answer arrives although the body never does.
            assert connection.recv(12) == b"HTTP/1.1 401"
        assert allocated(gateway) - before < CONNECTIONS * SENT / 4
    finally:
        for connection in connections:
            connection.close()


def allocated(gateway: RunningGateway) -> int:
    """The bytes of memory that Envoy has in use."""
    config = json.loads((gateway.state_dir / "run" / "envoy.json").read_text(encoding="utf-8"))
    place = config["admin"]["address"]["pipe"]["path"]
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=place)) as admin:
        return int(admin.get("http://admin/memory").json()["allocated"])
