"""Lists through a real Envoy and the real check service: a caller sees what it may call, or an error."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from oauth_core.policy.session_binding import OpenedSession, SessionSealer, read_session_keys
from tests.envoy.listing_gateway import SEEN, TOOLS, ListingGateway, running_listing_gateway
from tests.support.master_key import SESSION_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.envoy.listing_service import Answering


@pytest.fixture(scope="module", params=["http2", "grpcio"])
def _running(request: pytest.FixtureRequest) -> Iterator[ListingGateway]:
    with running_listing_gateway(AUTHZ_TRANSPORT=request.param) as gateway:
        yield gateway


@pytest.fixture
def gateway(_running: ListingGateway) -> ListingGateway:
    """A gateway whose service `time` has tool rules and `plain` has none, with each transport."""
    _running.forget()
    return _running


def test_a_caller_sees_only_the_tools_that_a_call_would_be_allowed(gateway: ListingGateway) -> None:
    answer = gateway.ask()
    assert (answer.status, answer.json) == (200, SEEN)
    assert gateway.ask(scope="mcp.time").json == TOOLS


def test_a_list_that_ends_in_many_parts_is_filtered_too(gateway: ListingGateway) -> None:
    def in_parts(one: Answering) -> None:
        one.begin("application/json")
        for byte in json.dumps(TOOLS).encode():
            one.send(bytes([byte]))
        one.end()

    gateway.service.script = in_parts
    assert gateway.ask().json == SEEN


def test_a_list_as_an_event_stream_is_filtered_event_by_event(gateway: ListingGateway) -> None:
    def as_events(one: Answering) -> None:
        one.begin("text/event-stream")
        one.send(b'data: {"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}\n\n')
        one.send(b"data: " + json.dumps(TOOLS).encode() + b"\n\n")
        one.end()

    gateway.service.script = as_events
    answer = gateway.ask()
    assert answer.status == 200
    events = [json.loads(event.removeprefix(b"data: ")) for event in answer.body.split(b"\n\n") if event]
    assert events[0]["method"] == "notifications/progress"
    assert events[1] == SEEN


def test_the_service_gets_no_offer_to_compress_a_list(gateway: ListingGateway) -> None:
    gateway.ask(headers={"Accept-Encoding": "gzip, br"})
    (asked,) = gateway.service.asked
    assert asked.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("method", ["tools/call", "ping"])
def test_an_answer_to_another_request_is_not_read(gateway: ListingGateway, method: str) -> None:
    params = {"name": "get_time", "arguments": {}} if method == "tools/call" else None
    assert gateway.ask(method, params=params, headers={"Accept-Encoding": "gzip"}).json == TOOLS
    assert gateway.service.asked[0].headers["accept-encoding"] == "gzip"


def test_a_list_of_a_service_without_rules_is_not_read(gateway: ListingGateway) -> None:
    assert gateway.ask(path="/plain/mcp", scope="mcp.plain").json == TOOLS


def test_a_list_that_is_no_json_becomes_an_error_with_the_id_of_the_request(gateway: ListingGateway) -> None:
    gateway.service.script = lambda one: one.whole(b'{"jsonrpc": "2.0", "id": 7, "result": {"tools": [')
    answer = gateway.ask()
    assert (answer.status, answer.json["id"], answer.json["error"]["code"]) == (502, 7, 502)
    assert answer.json["error"]["data"]["error"] == "bad_answer"


def test_a_session_begins_with_a_sealed_id(gateway: ListingGateway) -> None:
    def begin(one: Answering) -> None:
        one.whole(json.dumps(TOOLS).encode(), headers={"Mcp-Session-Id": "s-1"})

    gateway.service.script = begin
    sealer = SessionSealer(*read_session_keys(SESSION_KEY))
    for service, path, scope in (("time", "/time/mcp", "mcp.time.read"), ("plain", "/plain/mcp", "mcp.plain")):
        answer = gateway.ask("initialize", path=path, scope=scope)
        assert (answer.status, answer.json) == (200, TOOLS)
        opened = sealer.open(service, "person:583231", answer.headers["mcp-session-id"])
        assert isinstance(opened, OpenedSession)
        assert opened.session_id == "s-1"


def test_an_answer_without_a_session_is_the_same_as_without_the_filter(gateway: ListingGateway) -> None:
    answer = gateway.ask("initialize")
    assert (answer.status, answer.json) == (200, TOOLS)
    assert "mcp-session-id" not in answer.headers
