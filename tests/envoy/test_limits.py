"""Sizes and counts are limited, and a request beyond a limit gets an answer."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from envoy_data_plane.envoy.type.v3 import StatusCode

from tests.envoy.check_service import GOOD, deny
from tests.envoy.world import REQUEST_LIMIT, World

if TYPE_CHECKING:
    from collections.abc import Iterator

WEB_LIMIT = 64 * 1024


def _pieces(size: int) -> Iterator[bytes]:
    while size > 0:
        yield b"x" * min(size, 8192)
        size -= 8192


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "limit"), [("/time/mcp", REQUEST_LIMIT), ("/register", WEB_LIMIT)])
def test_a_body_up_to_the_limit_arrives_whole(world: World, path: str, limit: int, chunked: bool) -> None:
    body = _pieces(limit) if chunked else b"x" * limit
    answer = world.gate.ask(path, method="POST", headers=GOOD, body=body)
    assert (answer.status, answer.json["size"]) == (200, limit)


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("path", "limit"), [("/time/mcp", REQUEST_LIMIT), ("/register", WEB_LIMIT)])
def test_a_body_over_the_limit_is_413_and_reaches_no_service(
    world: World, path: str, limit: int, chunked: bool
) -> None:
    body = _pieces(limit + 1) if chunked else b"x" * (limit + 1)
    assert world.gate.ask(path, method="POST", headers=GOOD, body=body).status == 413
    assert world.received == []


def test_refusals_of_envoy_itself_are_json_like_all_others(world: World) -> None:
    foreign = {"Origin": "https://evil.example"}
    for status, answer in {
        403: world.gate.ask("/token", method="POST", headers=foreign, body=b"{}"),
        413: world.gate.ask("/token", method="POST", body=b"x" * (WEB_LIMIT + 1)),
        431: world.gate.ask("/token", headers={"x-long": "x" * 33 * 1024}),
        400: world.gate.ask("/token", headers={"x_under": "score"}),
    }.items():
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.json.keys() == {"error", "error_description"}
    head, _, body = world.gate.raw(b"GET /token HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert (head.split()[1], json.loads(body)["error"]) == (b"426", "invalid_request")


@pytest.mark.parametrize("status", [400, 403, 413, 429])
def test_a_refusal_of_the_check_service_is_not_rewritten(world: World, status: int) -> None:
    world.checks.decide = lambda _: deny(StatusCode(status), {"x-own": "words"})
    answer = world.gate.ask("/time/mcp", headers=GOOD)
    assert (answer.status, answer.headers["x-own"]) == (status, "words")
    assert "error_description" not in answer.json


def test_a_caller_without_a_token_is_refused_before_its_body_arrives(world: World) -> None:
    request = world.gate.head("POST", "/time/mcp", "Content-Length: 100000") + b"only the beginning"
    assert world.gate.raw(request).startswith(b"HTTP/1.1 401 ")
    assert world.received == []


def test_too_many_headers_are_refused(world: World) -> None:
    assert world.gate.ask("/time/mcp", headers=GOOD | {f"x-{n}": "1" for n in range(101)}).status == 431
    assert world.checks.asked == []


def test_headers_that_are_too_long_are_refused(world: World) -> None:
    assert world.gate.ask("/time/mcp", headers=GOOD | {"x-long": "x" * 33 * 1024}).status == 431
    assert world.checks.asked == []


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 5",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Host: other.example",
        "Content-Length: -1",
        "Broken header",
        "X-Null: a\0b",
    ],
)
def test_a_request_that_two_programs_could_read_differently_is_refused(world: World, head: str) -> None:
    request = world.gate.head("POST", "/time/mcp", "Authorization: Bearer good", head)
    answer = world.gate.raw(request + b"0\r\n\r\n" + world.gate.head("GET", "/time/mcp"))
    assert b" 200 OK" not in answer
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ", b"HTTP/1.1 421 "))
    assert world.received == []


@pytest.mark.parametrize("upgrade", ["websocket", "h2c", "connect-udp"])
def test_an_upgrade_is_not_forwarded(world: World, upgrade: str) -> None:
    world.gate.ask("/time/mcp", headers=GOOD | {"Connection": "Upgrade", "Upgrade": upgrade})
    assert [request for request in world.received if "upgrade" in request.headers] == []


@pytest.mark.parametrize("host", ["gate.example.com:443", "elsewhere.example:443"])
def test_connect_is_refused_at_once(world: World, host: str) -> None:
    answer = world.gate.raw(f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert world.received == []
