"""A service receives a path, in any notation, only if the check service checked that path for that service."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.envoy.check_service import GOOD
from tests.envoy.world import FILES, World
from tests.support.property_tests import examples


@pytest.mark.parametrize(
    "path",
    [
        "/time%2fmcp",
        "/time%2Fmcp",
        "/time/mcp%2f",
        "/time/mcp/..%2f..%2fwhoami",
        "/time%5cmcp",
        "/time/mcp%5Cx",
        "/.well-known%2foauth-protected-resource",
    ],
)
def test_an_encoded_slash_is_refused(world: World, path: str) -> None:
    assert world.gate.ask(path, headers=GOOD).status == 400
    assert world.received == []


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/time/mcp/../mcp", "/time/mcp"),
        ("/time/./mcp", "/time/mcp"),
        ("/x/../time/mcp", "/time/mcp"),
        ("//time//mcp", "/time/mcp"),
        ("/time/mcp//deep", "/time/mcp/deep"),
        ("/time/mcp/x/../deep", "/time/mcp/deep"),
        ("/time/mcp/x/%2e%2e/deep", "/time/mcp/deep"),
        ("/time\\mcp", "/time/mcp"),
        ("/token/../time/mcp", "/time/mcp"),
        ("/.well-known/oauth-protected-resource/../../time/mcp", "/time/mcp"),
    ],
)
def test_a_path_is_normalized_before_the_check(world: World, path: str, meant: str) -> None:
    assert world.gate.ask(path).status == 401
    assert world.only_asked().path == meant
    assert world.received == []


@pytest.mark.parametrize("path", ["/time/mcp/../../token", "//token", "/./token"])
def test_a_path_to_the_authorization_server_arrives_normalized(world: World, path: str) -> None:
    assert world.gate.ask(path).status == 200
    assert world.only_received().target == "/token"


@pytest.mark.parametrize("path", ["/time/mcp/..", "/time/mcp/../..", "/../../time", "/time/mcp/%2e%2e/x"])
def test_dot_segments_cannot_leave_a_service(world: World, path: str) -> None:
    world.gate.ask(path, headers=GOOD)
    assert [request for request in world.received if request.upstream != "oauth_web"] == []


@pytest.mark.parametrize(
    "path", ["/time/mcp;x", "/time/mcp%20", "/time/mcp%00", "/time/mcp%3f", "/time/mcp%23", "*"]
)
def test_a_path_that_resembles_a_service_reaches_none(world: World, path: str) -> None:
    assert world.gate.ask(path, headers=GOOD).status in {400, 404}
    assert world.received == []


def test_the_query_does_not_choose_the_route(world: World) -> None:
    assert world.gate.ask("/unknown?/time/mcp", headers=GOOD).status == 404
    assert world.gate.ask("/unknown#/../time/mcp", headers=GOOD).status in {400, 404}


def test_an_absolute_target_overrides_the_host_header_and_both_are_checked(world: World) -> None:
    """RFC 9112 section 3.2.2: the target has priority. The check service must receive the host that Envoy used."""
    request = world.gate.head("GET", f"http://{FILES}/time/mcp", "Authorization: Bearer good")
    assert b" 200 OK" in world.gate.raw(request)
    assert (world.only_asked().host, world.only_asked().service) == (FILES, "root")
    assert world.only_received().upstream == "root"


_PIECES = st.sampled_from(
    [
        "/",
        "//",
        "time",
        "mcp",
        "deep",
        "..",
        ".",
        "%2e",
        "%2f",
        "%5c",
        "\\",
        ";",
        "%",
        "x",
        "?",
        "#",
        "token",
        "%00",
    ]
)


@examples(400)
@given(pieces=st.lists(_PIECES, max_size=8), host=st.sampled_from(["gate.example.com", FILES]))
def test_a_service_receives_only_requests_that_were_checked_for_it(
    world: World, pieces: list[str], host: str
) -> None:
    world.forget()
    path = "/" + "".join(pieces)
    world.gate.ask(path, host=host, headers=GOOD)
    for request in world.received:
        if request.upstream == "oauth_web":
            continue
        check = world.only_asked()
        assert check.service == request.upstream
        service = next(s for s in world.settings.resolved_services if s.name == request.upstream)
        upstream_path = urlsplit(service.upstream).path.rpartition(":")[2].rstrip("/")
        public = urlsplit(service.resource).path
        checked = check.path.partition("?")[0].removeprefix(public)
        assert request.path.rstrip("/") == (upstream_path + checked).rstrip("/")
        assert not {"..", "."} & set(request.path.split("/"))
