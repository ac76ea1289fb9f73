"""Lists through a real Envoy and the real check service: a caller sees what it may call, or an error."""

from __future__ import annotations

import contextlib
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.policy.session_binding import OpenedSession, SessionSealer, read_session_keys
from tests.envoy.listing_gateway import SEEN, TOOLS, ListingGateway, running_listing_gateway
from tests.support.master_key import SESSION_KEY
from tests.support.programs import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.envoy.listing_service import Answering
    from tests.envoy.process import Answer


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


def _error(answer: Answer) -> tuple[int, object, str]:
    """The status of a refused list, the id in its error, and the error."""
    assert answer.headers["content-type"] == "application/json"
    assert b"set_time" not in answer.body
    return answer.status, answer.json["id"], answer.json["error"]["data"]["error"]


@pytest.mark.parametrize(
    ("content_type", "headers"),
    [
        ("application/json", {"Content-Encoding": "gzip"}),
        ("application/json; charset=utf-16", {}),
        ("text/html", {}),
        ("text/plain, application/json", {}),
        (None, {}),
    ],
    ids=["compressed", "another charset", "html", "two types", "no type"],
)
def test_a_list_in_another_form_is_refused(
    gateway: ListingGateway, content_type: str | None, headers: dict[str, str]
) -> None:
    gateway.service.script = lambda one: one.whole(json.dumps(TOOLS).encode(), content_type, headers=headers)
    assert _error(gateway.ask(request_id="a-7")) == (502, "a-7", "bad_answer")


def test_an_error_of_the_service_keeps_its_status(gateway: ListingGateway) -> None:
    gateway.service.script = lambda one: one.whole(b"no session", "text/plain", status=404)
    assert _error(gateway.ask()) == (404, 7, "bad_answer")
    error = {"jsonrpc": "2.0", "id": 7, "error": {"code": -32601, "message": "no prompts"}}
    gateway.service.script = lambda one: one.whole(json.dumps(error).encode(), status=404)
    answer = gateway.ask("prompts/list")
    assert (answer.status, answer.json) == (404, error)


def test_an_answer_without_a_body_passes(gateway: ListingGateway) -> None:
    gateway.service.script = lambda one: one.whole(b"", None, status=202)
    answer = gateway.ask()
    assert (answer.status, answer.body) == (202, b"")


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
def test_a_list_without_an_end_is_refused_and_the_service_need_not_write_it(
    gateway: ListingGateway, content_type: str
) -> None:
    stopped = threading.Event()

    def endless(one: Answering) -> None:
        one.begin(content_type)
        try:
            while not gateway.service.released.is_set():
                one.send(b" " * 8192 if content_type == "application/json" else b"data: " + b" " * 8192 + b"\n")
        except OSError:
            stopped.set()

    gateway.service.script = endless
    answer = gateway.ask()
    text = answer.body.decode().partition("data: ")[2] or answer.body.decode()
    # The memory for answers may be used up before the answer is too large.
    assert json.loads(text)["error"]["data"]["error"] in {"bad_answer", "temporarily_unavailable"}
    assert json.loads(text)["id"] == 7
    assert answer.status in ({502, 503} if content_type == "application/json" else {200})
    assert stopped.wait(timeout=60)


def test_a_large_list_is_filtered(gateway: ListingGateway) -> None:
    tools = [{"name": f"{'get' if number % 2 else 'set'}_{number}", "about": "x" * 400} for number in range(2000)]
    large = TOOLS | {"result": {"tools": tools}}
    gateway.service.script = lambda one: one.whole(json.dumps(large).encode())
    assert gateway.ask().json == TOOLS | {"result": {"tools": tools[1::2]}}

    def as_event(one: Answering) -> None:
        one.begin("text/event-stream")
        one.send(b"data: " + json.dumps(large).encode() + b"\n\n")
        one.end()

    gateway.service.script = as_event
    found = gateway.ask().body.removeprefix(b"data: ")
    assert json.loads(found) == TOOLS | {"result": {"tools": tools[1::2]}}


def test_a_list_that_the_service_cuts_off_becomes_an_error(gateway: ListingGateway) -> None:
    def cut(one: Answering) -> None:
        one.begin("application/json")
        one.send(json.dumps(TOOLS).encode()[:-10])
        one.cut()

    gateway.service.script = cut
    status, request_id, _ = _error(gateway.ask())
    assert status in {502, 503}
    assert request_id == 7


def test_a_fault_in_an_event_stream_ends_it_with_an_error(gateway: ListingGateway) -> None:
    def faulty(one: Answering) -> None:
        one.begin("text/event-stream")
        one.send(b": hello\n\n")
        one.send(b'data: {"jsonrpc":"2.0","id":7,"result":{"tools":[{"name":"set_time"}]},"result":{}}\n\n')
        one.send(b"data: " + json.dumps(TOOLS).encode() + b"\n\n")
        one.end()

    gateway.service.script = faulty
    answer = gateway.ask()
    assert answer.status == 200
    assert answer.body.startswith(b": hello\n\n")
    assert b"set_time" not in answer.body
    assert b"get_time" not in answer.body
    assert json.loads(answer.body.rpartition(b"data: ")[2])["error"]["data"]["error"] == "bad_answer"


def test_a_resumed_stream_is_filtered_event_by_event(gateway: ListingGateway) -> None:
    def resumed(one: Answering) -> None:
        one.begin("text/event-stream")
        one.send(b"id: 5\ndata: " + json.dumps(TOOLS).encode() + b"\n\n")
        assert gateway.service.released.wait(timeout=60)
        one.send(b"id: 6\ndata: " + json.dumps(TOOLS | {"id": 8}).encode() + b"\n\n")
        one.end()

    gateway.service.script = resumed
    with contextlib.closing(gateway.gate.connect()) as connection:
        connection.request(
            "GET", "/time/mcp", headers={**gateway.headers(), "Last-Event-ID": "4", "Host": gateway.gate.host}
        )
        response = connection.getresponse()
        # The first event arrives while the stream is open.
        first = response.readline() + response.readline()
        gateway.service.released.set()
        rest = response.read()
    assert json.loads(first.partition(b"data: ")[2]) == SEEN
    assert json.loads(rest.partition(b"data: ")[2]) == SEEN | {"id": 8}


def test_a_stream_that_is_not_resumed_is_not_read(gateway: ListingGateway) -> None:
    gateway.service.script = lambda one: one.whole(json.dumps(TOOLS).encode())
    headers = gateway.headers()
    assert gateway.gate.ask("/time/mcp", headers=headers).json == TOOLS


def test_a_refused_list_is_in_the_audit_record_and_in_the_access_log(gateway: ListingGateway) -> None:
    gateway.service.script = lambda one: one.whole(b"[]")
    assert _error(gateway.ask()) == (502, 7, "bad_answer")

    def recorded() -> list[dict[str, Any]]:
        return [each for each in gateway.authz.log() if each.get("reason") == "list_unreadable"]

    until(lambda: bool(recorded()))
    event = recorded()[-1]
    assert (event["service"], event["user"], event["mcp_method"]) == ("time", "octocat", "tools/list")
    until(lambda: '"reason":"list_unreadable"' in gateway.gate.log.read_text(encoding="utf-8"))
