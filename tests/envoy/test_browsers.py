"""Web pages: allowed origins get CORS headers and preflights without a token; other origins are refused."""

from __future__ import annotations

import pytest

from tests.envoy.check_service import GOOD
from tests.envoy.world import APP, REQUEST_LIMIT, World

FOREIGN = "https://evil.example"
NEEDED = {
    "authorization",
    "content-type",
    "mcp-protocol-version",
    "mcp-session-id",
    "mcp-method",
    "mcp-name",
    "last-event-id",
    "dpop",
    "traceparent",
    "tracestate",
    "baggage",
}
READABLE = {"www-authenticate", "mcp-session-id", "mcp-protocol-version", "retry-after"}
CLIENT_PATHS = [
    "/time/mcp",
    "/token",
    "/revoke",
    "/register",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-protected-resource/time/mcp",
    "/.well-known/openid-configuration",
]


def _preflight(origin: str) -> dict[str, str]:
    return {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, mcp-protocol-version",
    }


def _names(value: str) -> set[str]:
    return {name.strip().lower() for name in value.split(",")}


@pytest.mark.requirement("complaints:ai-gateway-2307")
@pytest.mark.parametrize("path", CLIENT_PATHS)
def test_a_preflight_is_answered_without_a_token(world: World, path: str) -> None:
    answer = world.gate.ask(path, method="OPTIONS", headers=_preflight(APP))
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == APP
    assert _names(answer.headers["access-control-allow-headers"]) >= NEEDED
    assert _names(answer.headers["access-control-allow-methods"]) >= {"get", "post", "delete"}
    assert "access-control-allow-credentials" not in answer.headers
    assert world.received == []
    assert world.checks.asked == []


@pytest.mark.requirement("oauth21:cors-token")
@pytest.mark.parametrize("headers", [GOOD, {}])
def test_an_allowed_page_can_read_answers_and_refusals(world: World, headers: dict[str, str]) -> None:
    answer = world.gate.ask("/time/mcp", headers=headers | {"Origin": APP})
    assert answer.status == (200 if headers else 401)
    assert answer.headers["access-control-allow-origin"] == APP
    assert _names(answer.headers["access-control-expose-headers"]) == READABLE


@pytest.mark.requirement("mcp:origin-403")
@pytest.mark.parametrize("path", CLIENT_PATHS)
@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", "https://app.example.com.evil.example", "http://app.example.com", f"{APP}:444", ""]
)
def test_a_page_of_another_origin_is_refused_with_and_without_a_preflight(
    world: World, path: str, origin: str
) -> None:
    for answer in (
        world.gate.ask(path, method="OPTIONS", headers=_preflight(origin)),
        world.gate.ask(path, method="POST", headers=GOOD | {"Origin": origin}, body=b"{}"),
    ):
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
    assert world.received == []


@pytest.mark.parametrize("origin", [APP, FOREIGN, None])
@pytest.mark.parametrize("path", CLIENT_PATHS)
def test_every_answer_on_paths_for_pages_varies_by_origin(world: World, path: str, origin: str | None) -> None:
    """A browser caches answers. It must not give an answer that names the origin of one page to another page."""
    sent = {"Origin": origin} if origin else {}
    for answer in (
        world.gate.ask(path, headers=GOOD | sent),
        world.gate.ask(path, headers=sent),
        world.gate.ask(path, method="OPTIONS", headers=_preflight(origin or APP)),
        world.gate.ask(path, method="PATCH", headers=GOOD | sent),
        world.gate.ask(path, method="POST", headers=GOOD | sent, body=b"x" * (REQUEST_LIMIT + 1)),
        world.gate.ask(path, method="POST", headers=GOOD | sent | {"Content-Type": "text/plain"}, body=b"x"),
    ):
        assert "origin" in _names(answer.headers.get("vary", "")), answer


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        (["Accept-Language"], ["accept-language", "origin"]),
        (["Accept-Language, Accept"], ["accept-language", "accept", "origin"]),
        (["Accept", "Cookie"], ["accept", "cookie", "origin"]),
        (["Origin"], ["origin"]),
        (["ORIGIN"], ["origin"]),
        (["Accept , origin,Cookie"], ["accept", "origin", "cookie"]),
        (["Accept", "Origin"], ["accept", "origin"]),
        (["X-Origin"], ["x-origin", "origin"]),
        (["*"], ["*"]),
        (["Accept", "*"], ["accept", "*"]),
    ],
)
@pytest.mark.parametrize("origin", [(), (f"Origin: {APP}",)])
def test_the_vary_header_of_a_service_is_kept_without_repetitions(
    world: World, said: list[str], answered: list[str], origin: tuple[str, ...]
) -> None:
    asked = ("Authorization: Bearer good", *origin, *(f"X-Answer-Varies-By: {value}" for value in said))
    head = world.gate.raw(world.gate.head("GET", "/time/mcp", *asked)).partition(b"\r\n\r\n")[0].decode().lower()
    values = [line.partition(":")[2] for line in head.split("\r\n") if line.startswith("vary:")]
    assert [name.strip() for name in ",".join(values).split(",")] == answered


def _parameters(world: World, asked: str, origin: str = APP) -> list[str]:
    """The names of parameter headers that the answer to a preflight allows."""
    sent = _preflight(origin) | {"Access-Control-Request-Headers": asked}
    answer = world.gate.ask("/time/mcp", method="OPTIONS", headers=sent)
    allowed = answer.headers.get("access-control-allow-headers", "")
    assert answer.status == 403 or _names(allowed) >= NEEDED
    return sorted(name for name in _names(allowed) if "param" in name)


@pytest.mark.requirement("sep-2243:parameters")
def test_a_page_may_send_headers_for_tool_parameters(world: World) -> None:
    """MCP revision 2026-07-28: headers that begin with `Mcp-Param-` may repeat the parameters of a tool."""
    assert _parameters(world, "authorization,mcp-param-region,Mcp-Param-Tenant_Id") == [
        "mcp-param-region",
        "mcp-param-tenant_id",
    ]
    assert _parameters(world, "authorization") == []
    for asked in ("mcp-param-", "x-mcp-param-a", "mcp-param-a b", 'mcp-param-a"b', "mcp-param-" + "a" * 200):
        assert _parameters(world, asked) in ([], ["mcp-param-a"]), asked
    assert len(_parameters(world, ",".join(f"mcp-param-{number}" for number in range(100)))) == 32
    assert _parameters(world, "mcp-param-region", origin=FOREIGN) == []


@pytest.mark.parametrize("path", ["/authorize", "/callback", "/"])
def test_pages_for_people_do_not_depend_on_an_origin(world: World, path: str) -> None:
    assert "vary" not in world.gate.ask(path, headers={"Origin": APP}).headers


def test_two_origin_headers_are_refused(world: World) -> None:
    request = world.gate.head(
        "GET", "/time/mcp", "Authorization: Bearer good", f"Origin: {APP}", f"Origin: {FOREIGN}"
    )
    assert world.gate.raw(request).startswith(b"HTTP/1.1 403 ")
    assert world.received == []


@pytest.mark.parametrize(
    "origin",
    ["http://localhost:6274", "http://localhost", "https://localhost:1", "http://127.0.0.1:80", "http://[::1]:5"],
)
def test_on_one_machine_pages_of_that_machine_may_call_from_any_port(
    world: World, local: World, origin: str
) -> None:
    answer = local.gate.ask("/time/mcp", method="OPTIONS", headers=_preflight(origin))
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert local.gate.ask("/time/mcp", headers=GOOD | {"Origin": origin}).status == 200
    assert world.gate.ask("/time/mcp", headers=GOOD | {"Origin": origin}).status == 403


@pytest.mark.parametrize("origin", ["http://localhost.evil.example", "http://localhost:1@evil.example", FOREIGN])
def test_on_one_machine_other_pages_are_refused(local: World, origin: str) -> None:
    assert local.gate.ask("/time/mcp", headers=GOOD | {"Origin": origin}).status == 403


@pytest.mark.requirement("oauth21:cors-authorize")
@pytest.mark.parametrize("origin", [APP, FOREIGN, "null"])
@pytest.mark.parametrize("path", ["/authorize", "/authorize/consent", "/callback", "/"])
def test_scripts_cannot_read_the_pages_for_people_but_forms_can_be_sent(
    world: World, path: str, origin: str
) -> None:
    answer = world.gate.ask(path, method="POST", headers={"Origin": origin}, body=b"a=b")
    assert answer.json["upstream"] == "oauth_web"
    assert "access-control-allow-origin" not in answer.headers


def test_an_options_request_that_is_no_preflight_needs_a_token(world: World) -> None:
    assert world.gate.ask("/time/mcp", method="OPTIONS").status == 401
    assert world.gate.ask("/time/mcp", method="OPTIONS", headers={"Origin": APP}).status == 401
