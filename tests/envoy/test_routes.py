"""Which request reaches which server behind a real Envoy."""

from __future__ import annotations

from urllib.parse import quote

import httpx2
import pytest
from envoy_data_plane.envoy.type.v3 import StatusCode

from tests.envoy.check_service import GOOD, deny
from tests.envoy.world import FILES, World

WEB = [
    "/",
    "/authorize",
    "/authorize/consent",
    "/token",
    "/revoke",
    "/introspect",
    "/register",
    "/register/abc",
    "/callback",
    "/.well-known/oauth-authorization-server",
    "/.well-known/oauth-authorization-server/time/mcp",
    "/.well-known/openid-configuration",
    "/.well-known/oauth-protected-resource",
    "/.well-known/oauth-protected-resource/time/mcp",
    "/.well-known/jwks.json",
    "/healthz",
]


@pytest.mark.parametrize("path", WEB)
def test_the_authorization_servers_paths_reach_it_without_a_token(world: World, path: str) -> None:
    answer = world.gate.ask(f"{path}?a=b")
    assert answer.json["upstream"] == "oauth_web"
    assert world.only_received().target == f"{path}?a=b"
    assert world.only_received().headers["host"] == [world.gate.host]
    assert world.checks.asked == []


@pytest.mark.parametrize(
    ("host", "path", "service", "upstream_path"),
    [
        (None, "/time/mcp", "time", "/mcp"),
        (None, "/time/mcp/", "time", "/mcp"),
        (None, "/time/mcp/deep/", "deep", "/a/b/"),
        (None, "/time/mcp/x/y", "time", "/mcp/x/y"),
        (None, "/time/mcp/deeper", "time", "/mcp/deeper"),
        (None, "/time/mcp/deep", "deep", "/a/b/"),
        (None, "/time/mcp/deep/x", "deep", "/a/b/x"),
        (FILES, "/", "root", "/"),
        (FILES, "/anything/at/all", "root", "/anything/at/all"),
    ],
)
def test_a_service_gets_its_path_and_the_paths_below_it(
    world: World, host: str | None, path: str, service: str, upstream_path: str
) -> None:
    answer = world.gate.ask(f"{path}?q=1", host=host, headers=GOOD)
    assert answer.status == 200
    received = world.only_received()
    assert (received.upstream, received.target) == (service, f"{upstream_path}?q=1")
    check = world.only_asked()
    assert (check.service, check.host, check.path) == (service, host or world.gate.host, f"{path}?q=1")


def test_a_service_receives_its_own_host_name_and_no_origin(world: World) -> None:
    world.gate.ask("/time/mcp", headers=GOOD | {"origin": "https://app.example.com"})
    world.gate.ask("/time/mcp/deep", headers=GOOD)
    by_name = {request.upstream: request for request in world.received}
    assert by_name["time"].headers["host"] == ["localhost"]
    assert "origin" not in by_name["time"].headers
    assert by_name["deep"].headers["host"] == [world.settings.services[1].upstream.split("/")[2]]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "path", ["/time/mcpx", "/time", "/time/mc", "/Time/mcp", "/TIME/MCP", "/unknown", "/tokens"]
)
def test_a_path_without_a_service_is_not_found(world: World, path: str) -> None:
    answer = world.gate.ask(path, headers=GOOD)
    assert (answer.status, answer.json) == (404, {"error": "not_found"})
    assert answer.headers["content-type"] == "application/json"
    assert world.received == []
    assert world.checks.asked == []


@pytest.mark.parametrize("path", ["/_github", "/_github/login/oauth/authorize"])
def test_the_stand_in_is_reachable_only_where_it_runs(world: World, local: World, path: str) -> None:
    assert local.gate.ask(path).json["upstream"] == "github_standin"
    assert world.gate.ask(path).status == 404


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "gate.example.com.evil.example",
        "gate.example.com:8443",
        "gate.example.com.",
        "x",
    ],
)
@pytest.mark.parametrize("path", ["/time/mcp", "/token", "/"])
def test_an_unknown_host_is_refused(world: World, host: str, path: str) -> None:
    answer = world.gate.ask(path, host=host, headers=GOOD)
    assert answer.status == 421
    if path == "/time/mcp":
        assert answer.json["error"]["message"].endswith(f" {world.settings.issuer}{path}")
    else:
        assert answer.json["error"] == "misdirected_request"
        assert answer.json["error_description"].endswith(f" {world.settings.issuer}")
    assert world.received == []


@pytest.mark.parametrize("host", ["gate.example.com:443", "GATE.example.com"])
def test_a_host_may_have_its_default_port_and_any_case(world: World, host: str) -> None:
    assert world.gate.ask("/time/mcp", host=host, headers=GOOD).status == 200


def test_a_services_own_host_serves_only_its_metadata_of_the_authorization_server(
    world: World,
) -> None:
    assert world.gate.ask("/.well-known/oauth-protected-resource", host=FILES).json["upstream"] == "oauth_web"
    assert world.checks.asked == []
    for path in ("/token", "/authorize", "/register", "/.well-known/jwks.json"):
        assert world.gate.ask(path, host=FILES).status == 401


def test_a_refusal_of_the_check_service_reaches_the_caller_and_the_request_no_service(world: World) -> None:
    world.checks.decide = lambda _: deny(StatusCode.Forbidden, {"www-authenticate": 'Bearer error="x"'})
    answer = world.gate.ask("/time/mcp", headers=GOOD, method="POST", body=b"{}")
    assert (answer.status, answer.json) == (403, {"error": "refused"})
    assert answer.headers["www-authenticate"] == 'Bearer error="x"'
    assert world.received == []


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"])
@pytest.mark.parametrize("path", ["/time/mcp", "/time/mcp/x", "/time/mcp/deep"])
def test_no_method_reaches_a_service_without_a_token(world: World, method: str, path: str) -> None:
    assert world.gate.ask(path, method=method).status == 401
    assert world.received == []


def test_http_2_works_without_tls(world: World) -> None:
    with httpx2.Client(http1=False, http2=True, trust_env=False) as client:
        url = f"http://127.0.0.1:{world.gate.port}/time/mcp"
        answer = client.get(url, headers=GOOD | {"host": world.gate.host})
        assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
        assert client.get(url, headers={"host": world.gate.host}).status_code == 401
    assert world.only_received().upstream == "time"


def test_answers_do_not_reveal_the_programs_of_the_gateway(world: World) -> None:
    for path, headers in (("/time/mcp", GOOD), ("/time/mcp", {}), ("/token", {}), ("/unknown", {})):
        answer = world.gate.ask(path, headers=headers)
        revealing = [name for name in answer.headers if name in {"server", "x-powered-by"} or "envoy" in name]
        assert revealing == []


@pytest.mark.parametrize(
    ("said", "public"),
    [
        ("http://localhost/mcp/x", "/time/mcp/x"),
        ("http://localhost:8000/mcp?a=b", "/time/mcp?a=b"),
        ("//LOCALHOST/mcp/x", "/time/mcp/x"),
        ("/mcp/x#y", "/time/mcp/x#y"),
        ("http://localhost/elsewhere", None),
        ("http://localhost/mcpx", None),
        ("http://time:8000/elsewhere", None),
        ("http://10.0.0.7/elsewhere", None),
        ("http://[fd00::7]/elsewhere", None),
        ("http://user@accounts.example/x", None),
        ("http://time.svc.cluster.local/x", None),
        ("/elsewhere", None),
        ("\\\\localhost/mcp", "/time/mcp"),
    ],
)
def test_no_redirect_of_a_service_names_an_upstream(world: World, said: str, public: str | None) -> None:
    answer = world.gate.ask(f"/time/mcp/redirect?to={quote(said, safe='')}", headers=GOOD)
    assert answer.status == 307
    wanted = None if public is None else f"https://{world.gate.host}{public}"
    assert answer.headers.get("location") == wanted
    # A name with a dot may be a public one; this one is only the upstream's.
    world.forget()
    upstream = world.settings.services[1].upstream
    assert upstream is not None
    answer = world.gate.ask(f"/time/mcp/deep/redirect?to={quote(f'{upstream}x', safe='')}", headers=GOOD)
    assert answer.headers.get("location") == f"https://{world.gate.host}/time/mcp/deep/x"


@pytest.mark.parametrize(
    "said", ["https://accounts.example/login?x=1", "https://gate.example.com/time/mcp/x", "x", "?y"]
)
def test_a_redirect_to_another_host_is_unchanged(world: World, said: str) -> None:
    answer = world.gate.ask(f"/time/mcp/redirect?to={quote(said, safe='')}", headers=GOOD)
    assert answer.headers["location"] == said


OVERRIDES = (
    "X-Method-Override",
    "X-HTTP-Method",
    "x-http-method-override",
    "X.Http.Method",
    "X-Method",
    "Method-Override",
)


@pytest.mark.parametrize(
    "name", [*OVERRIDES, "HTTP-Method-Override", "X-Tunneled-Method", "X-HTTP.Method-Override"]
)
def test_no_header_reaches_a_service_that_names_another_method(world: World, name: str) -> None:
    told = {"mcp-method": "tools/call", "x-methodology": "agile"}
    world.gate.ask("/time/mcp", headers=GOOD | told | {name: "DELETE"})
    received = world.only_received()
    assert name.lower() not in received.headers
    assert told.items() <= {key: values[0] for key, values in received.headers.items()}.items()
    assert "DELETE" not in str(received.headers)
