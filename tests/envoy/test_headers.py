"""Identity headers from a caller never reach a service, in any notation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from oauth_core.settings.identity_headers import IdentityHeaders
from tests.envoy.check_service import GOOD, IDENTITY, allow

if TYPE_CHECKING:
    from tests.envoy.world import World

FORGED = "forged"
IDENTITY_HEADERS = IdentityHeaders().guarded


@pytest.mark.requirement("complaints:semantic-router-1445")
@pytest.mark.parametrize("name", [*IDENTITY_HEADERS, *(name.title() for name in IDENTITY_HEADERS), "X-USER-ID"])
def test_a_forged_identity_header_is_replaced_by_the_true_one(world: World, name: str) -> None:
    world.gate.ask("/time/mcp", headers=GOOD | {name: FORGED})
    true = IDENTITY.get(name.lower())
    assert world.only_received().headers.get(name.lower()) == ([true] if true else None)
    assert name.lower() not in world.only_asked().headers


@pytest.mark.parametrize("name", IDENTITY_HEADERS)
def test_a_forged_identity_header_is_removed_before_the_check_and_on_every_route(world: World, name: str) -> None:
    world.gate.ask("/time/mcp", headers={name: FORGED})
    assert name not in world.only_asked().headers
    world.gate.ask("/token", headers={name: FORGED})
    assert name not in world.only_received().headers


def test_a_repeated_forged_header_is_removed_completely(world: World) -> None:
    request = world.gate.head("GET", "/token", "X-User-Id: a", "x-user-id: b")
    assert b" 200 OK" in world.gate.raw(request)
    assert "x-user-id" not in world.only_received().headers


@pytest.mark.parametrize(
    "name", [name.replace("-", "_") for name in IDENTITY_HEADERS] + ["X_User_Id", "x-user_id"]
)
def test_a_header_with_an_underscore_is_refused(world: World, name: str) -> None:
    assert world.gate.ask("/time/mcp", headers=GOOD | {name: FORGED}).status == 400
    assert world.received == []
    assert world.checks.asked == []


@pytest.mark.parametrize("name", ["x.user.id", "X~User~Id", "x-user.name", "X!Token-Scope", "x+client+id"])
@pytest.mark.parametrize("path", ["/time/mcp", "/token"])
def test_a_header_that_a_service_could_read_as_ours_is_removed_on_every_route(
    world: World, name: str, path: str
) -> None:
    assert world.gate.ask(path, headers=GOOD | {name: FORGED}).status == 200
    assert name.lower() not in world.only_received().headers


@pytest.mark.parametrize("name", ["X-User-Id", "X-User-Id, X-Client-Id", "Authorization", "close, x-user-id"])
def test_a_caller_cannot_drop_the_true_identity_with_the_connection_header(world: World, name: str) -> None:
    """RFC 9110 section 7.6.1 lets a sender list headers that the next hop must drop. Ours must not be dropped."""
    answer = world.gate.ask("/time/mcp", headers=GOOD | {"Connection": name})
    if answer.status == 200:
        headers = world.only_received().headers
        assert {name: headers[name] for name in IDENTITY} == {name: [value] for name, value in IDENTITY.items()}
    else:
        assert world.received == []


@pytest.mark.requirement("mcp:no-passthrough")
@pytest.mark.requirement("best-practices:passthrough")
def test_the_token_reaches_the_authorization_server_but_no_service(world: World) -> None:
    world.gate.ask("/time/mcp", headers=GOOD)
    assert "authorization" not in world.only_received().headers
    world.forget()
    world.gate.ask("/register/abc", headers=GOOD)
    assert world.only_received().headers["authorization"] == [GOOD["authorization"]]


@pytest.mark.parametrize(
    "name",
    [
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-Client-Cert",
        "Forwarded",
        "X-Real-Ip",
        "X-Original-Url",
        "X-Rewrite-Url",
        *("X-Http-Method-Override", "X-HTTP-Method", "X-Method-Override", "X-Method", "Method-Override"),
        *("XHTTPMethodOverride", "X-HttpMethodOverride", "X-HTTP-MethodOverride", "HTTP-Method", "XMethod"),
        *(
            "X.HTTP.Method.Override",
            "X-Override-Method",
            "X-Url-Override",
            "X-Host-Override",
            "X-HTTP-Host-Override",
        ),
        *(
            "Proxy",
            "PROXY",
            "Proxy-Authorization",
            "proxy.authorization",
            "ProxyAuthorization",
            "Proxy-Connection",
        ),
        *("X-Host", "XHost", "X-Scheme", "X-Proto", "X-Server", "X-Script-Name", "Script-Name", "X-Url-Scheme"),
        *("X-Forwarded", "XForwardedHost", "X.Forwarded.Host", "X-ForwardedHost", "X-Forwarded-Server"),
        *("X-Forwarded-Scheme", "X-Forwarded-Ssl", "X-Forwarded-User", "Forwarded-For", "X-Original-Host"),
        *("X-OriginalUrl", "X-Rewrite-Path", "XRewriteUrl", "Remote-User", "X-Remote-User", "True-Client-Ip"),
        "X-Envoy-Upstream-Rq-Timeout-Ms",
        "X-Envoy-Retry-On",
        "X-Envoy-Original-Path",
        "x-envoy-internal",
        "X-Portcullis-Anything",
    ],
)
@pytest.mark.parametrize("path", ["/time/mcp", "/token"])
def test_a_header_that_only_a_proxy_may_set_is_removed(world: World, name: str, path: str) -> None:
    world.gate.ask(path, headers=GOOD | {name: FORGED})
    assert FORGED not in world.only_received().headers.get(name.lower(), [])


@pytest.mark.parametrize(
    "name", ["X_HTTP_METHOD_OVERRIDE", "X_Forwarded_Host", "Proxy_Authorization", "X-Forwarded_Host", "_method"]
)
@pytest.mark.parametrize("path", ["/time/mcp", "/token"])
def test_a_header_that_only_a_proxy_may_set_is_refused_with_underscores(
    world: World, name: str, path: str
) -> None:
    assert world.gate.ask(path, headers=GOOD | {name: FORGED}).status == 400
    assert world.received == []


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Mcp-Method",
            "Mcp-Name",
            "Mcp-Session-Id",
            "Mcp-Param-Method",
            "X-Api-Key",
            "X-Hostess",
            "X-Model-Override",
        ),
        *("X-Schema", "Proximity", "Last-Event-Id", "X-Methods", "X-Portfolio", "Traceparent"),
    ],
)
def test_a_header_that_no_proxy_sets_reaches_the_service(world: World, name: str) -> None:
    world.gate.ask("/time/mcp", headers=GOOD | {name: "value"})
    assert world.only_received().headers[name.lower()] == ["value"]


def test_a_caller_cannot_set_its_own_address(world: World) -> None:
    world.gate.ask("/time/mcp", headers=GOOD | {"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https"})
    (address,) = world.only_received().headers["x-forwarded-for"]
    assert "10.9.8.7" not in address
    assert world.only_asked().headers["x-forwarded-for"] == address
    assert world.only_received().headers["x-forwarded-proto"] == ["http"]


def test_the_gateway_replaces_the_callers_request_id(world: World) -> None:
    world.gate.ask("/time/mcp", headers=GOOD | {"X-Request-Id": FORGED})
    (request_id,) = world.only_received().headers["x-request-id"]
    assert request_id != FORGED


def test_a_header_that_the_check_service_sets_overwrites_the_callers(world: World) -> None:
    world.checks.decide = lambda _: allow({"x-extra": "true one"})
    world.gate.ask("/time/mcp", headers=GOOD | {"X-Extra": FORGED})
    assert world.only_received().headers["x-extra"] == ["true one"]


def test_a_check_answer_that_would_split_a_header_fails_the_request(world: World) -> None:
    world.checks.decide = lambda _: allow({"x-extra": "a\r\nx-user-id: 2"})
    assert world.gate.ask("/time/mcp", headers=GOOD).status >= 500
    assert world.received == []


def test_a_sign_in_cookie_never_reaches_a_service_on_the_same_host(world: World) -> None:
    session = {"Cookie": "__Host-portcullis-session=secret; other=1"}
    world.gate.ask("/time/mcp", headers=GOOD | session)
    assert "cookie" not in world.only_received().headers
    world.forget()
    world.gate.ask("/account", headers=session)
    assert "cookie" in world.only_received().headers
