"""Services with broken answers and odd sessions, and callers with sessions of others, through a real Envoy."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from oauth_core.policy.jsonrpc_limits import ANSWER_BYTES, MOST_ENTRIES
from oauth_core.policy.session_binding import LONGEST_SESSION_ID, SessionSealer, read_session_keys
from tests.envoy.listing_gateway import SEEN, TOOLS, ListingGateway, running_listing_gateway
from tests.support.master_key import SESSION_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.envoy.listing_service import Answering
    from tests.envoy.process import Answer

SEALER = SessionSealer(*read_session_keys(SESSION_KEY))
OWNER = "person:583231"
TEXT = json.dumps(TOOLS)
HIDDEN = "set_time"


@pytest.fixture(scope="module")
def _running() -> Iterator[ListingGateway]:
    with running_listing_gateway() as gateway:
        yield gateway


@pytest.fixture
def gateway(_running: ListingGateway) -> ListingGateway:
    """A gateway whose service `time` has tool rules."""
    _running.forget()
    return _running


# -- lists -------------------------------------------------------------------------------------------------------


def whole(
    text: str | bytes, content_type: str = "application/json", **more: object
) -> Callable[[Answering], None]:
    """A script that sends this answer."""
    body = text.encode() if isinstance(text, str) else text
    return lambda one: one.whole(body, content_type, **more)


def endless(content_type: str, piece: bytes) -> Callable[[Answering], None]:
    """A script that sends a piece again and again, until Envoy closes the connection."""

    def script(one: Answering) -> None:
        one.begin(content_type)
        while True:
            one.send(piece)

    return script


HOSTILE = {
    "a batch": whole(f"[{TEXT}]"),
    "two answers": whole(f"{TEXT}\n{TEXT}"),
    "a member twice": whole(TEXT.replace('"result"', '"result": {}, "result"')),
    "a list in two spellings": whole(TEXT.replace('"tools"', '"tools": [], "Tools"')),
    "a list that is an object": whole(TEXT.replace("[", '{"a": ').replace("]", "}").replace("}, {", '}, "b": {')),
    "an unknown type": whole(TEXT, "text/plain"),
    "an unknown charset": whole(TEXT.encode("utf-16"), "application/json; charset=utf-16"),
    "compressed": whole(TEXT, headers={"Content-Encoding": "gzip"}),
    "deep": whole(TEXT.replace('"c2"', "[" * 10_000 + "]" * 10_000)),
    "many entries": whole(json.dumps(TOOLS | {"result": {"tools": [{"name": HIDDEN}] * (MOST_ENTRIES + 1)}})),
    "large": whole(TEXT.replace('"c2"', f'"{"x" * ANSWER_BYTES}"')),
    "endless": endless("application/json", b" " * 65_536),
    "an endless event": endless("text/event-stream", b"data: " + b" " * 65_536),
    "two answers in a stream": whole(f"data: {TEXT}\n\n" * 2, "text/event-stream"),
    "a lone carriage return": whole(f"data: {{}}\rdata: {TEXT}\n\n", "text/event-stream"),
    "an answer without events": whole(TEXT, "text/event-stream"),
    "an answer on several lines without events": whole(json.dumps(TOOLS, indent=1), "text/event-stream"),
    "another spelling of data": whole(f"Data: {TEXT}\n\n", "text/event-stream"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_broken_list_becomes_an_error_and_the_next_list_is_good(gateway: ListingGateway, name: str) -> None:
    gateway.service.script = HOSTILE[name]
    answer = gateway.ask()
    text = answer.body.decode()
    assert HIDDEN not in text
    error = text.strip().rpartition("data: ")[2]
    # A service that sends without end may also use up the memory for answers before one is too large.
    busy = {"temporarily_unavailable"} if "endless" in name else set()
    assert json.loads(error)["error"]["data"]["error"] in {"bad_answer"} | busy
    assert json.loads(error)["id"] == 7
    gateway.forget()
    assert gateway.ask().json == SEEN


def test_a_large_list_within_the_limits_is_filtered(gateway: ListingGateway) -> None:
    tools = [
        {"name": f"{prefix}_{number}", "description": "x" * 300}
        for number in range(1000)
        for prefix in ("get", "set")
    ]
    gateway.service.script = whole(json.dumps(TOOLS | {"result": {"tools": tools}}))
    assert gateway.ask().json["result"]["tools"] == tools[::2]


def test_an_error_of_the_service_passes_with_its_status(gateway: ListingGateway) -> None:
    error = {"jsonrpc": "2.0", "id": 7, "error": {"code": -32001, "message": "Session not found"}}
    gateway.service.script = whole(json.dumps(error), status=404)
    answer = gateway.ask()
    assert (answer.status, answer.json) == (404, error)


def test_lists_in_a_resumed_stream_are_filtered(gateway: ListingGateway) -> None:
    called = json.dumps({"jsonrpc": "2.0", "id": 8, "result": {"content": []}})
    gateway.service.script = whole(
        f"id: 4\ndata: {called}\n\n: x\n\nid: 5\ndata: {TEXT}\n\nid: 6\ndata: {TEXT}\n\n", "text/event-stream"
    )
    resumed = gateway.gate.ask("/time/mcp", headers={**gateway.headers(), "Last-Event-ID": "3"})
    seen = json.dumps(SEEN)
    assert resumed.body.decode() == (
        f"id: 4\ndata: {called}\n\n: x\n\nid: 5\ndata: {seen}\n\nid: 6\ndata: {seen}\n\n"
    )


@pytest.mark.parametrize("method", ["tools/call", "ping", "notifications/initialized"])
def test_a_request_for_something_else_resumes_no_stream_with_a_list(gateway: ListingGateway, method: str) -> None:
    gateway.ask(method, params={"name": "get_time"}, headers={"Last-Event-ID": "3"})
    (asked,) = gateway.service.asked
    assert "last-event-id" not in asked.headers


def test_the_service_gets_no_other_name_that_could_be_read_as_that_of_a_resumed_stream(
    gateway: ListingGateway,
) -> None:
    gateway.gate.ask("/time/mcp", headers={**gateway.headers(), "Last.Event.Id": "3-4"})
    assert "3-4" not in {value for asked in gateway.service.asked for value in asked.headers.values()}


# -- sessions ----------------------------------------------------------------------------------------------------


def sealed(session_id: str, subject: str = OWNER, service: str = "time") -> str:
    found = SEALER.seal(service, subject, session_id)
    assert found is not None
    return found


def with_sessions(*session_ids: str) -> Callable[[Answering], None]:
    """A script whose answer has these ids."""

    def script(one: Answering) -> None:
        handler = one._handler
        handler.send_response(200)
        for session_id in session_ids:
            handler.send_header("Mcp-Session-Id", session_id)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(TEXT)))
        handler.end_headers()
        handler.wfile.write(TEXT.encode())

    return script


def call(gateway: ListingGateway, session: str | None, method: str = "POST", **headers: str) -> Answer:
    sent: dict[str, Any] = {**gateway.headers(), **headers}
    if session is not None:
        sent["Mcp-Session-Id"] = session
    body = json.dumps({"jsonrpc": "2.0", "id": 7, "method": "ping"}).encode() if method == "POST" else None
    return gateway.gate.ask("/time/mcp", method=method, headers=sent, body=body)


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
def test_the_service_sees_its_own_id_and_the_client_the_sealed_one(gateway: ListingGateway, method: str) -> None:
    gateway.service.script = with_sessions("s-1")
    answer = call(gateway, sealed("s-1"), method)
    assert gateway.service.asked[-1].headers["mcp-session-id"] == "s-1"
    assert answer.headers["mcp-session-id"] == sealed("s-1")


def test_a_service_cannot_give_a_client_the_session_of_another(gateway: ListingGateway) -> None:
    gateway.service.script = with_sessions("s-2")
    assert call(gateway, sealed("s-1")).headers["mcp-session-id"] == sealed("s-1")


def test_an_answer_without_a_session_stays_without(gateway: ListingGateway) -> None:
    assert "mcp-session-id" not in call(gateway, sealed("s-1")).headers


@pytest.mark.parametrize("session_id", ["!", "~" * LONGEST_SESSION_ID, "a.b.c", sealed("s-1")])
def test_any_legal_id_goes_to_the_client_and_back(gateway: ListingGateway, session_id: str) -> None:
    gateway.service.script = with_sessions(session_id)
    begun = gateway.ask("initialize").headers["mcp-session-id"]
    assert begun == sealed(session_id)
    assert call(gateway, begun).status == 200
    assert gateway.service.asked[-1].headers["mcp-session-id"] == session_id


@pytest.mark.requirement("mcp-sessions:visible-ascii")
@pytest.mark.parametrize("session_ids", [("s-1", "s-2"), ("a b",), ("\xe9",), ("x" * (LONGEST_SESSION_ID + 1),)])
def test_an_id_that_a_service_may_not_choose_does_not_reach_the_client(
    gateway: ListingGateway, session_ids: tuple[str, ...]
) -> None:
    gateway.service.script = with_sessions(*session_ids)
    answer = gateway.ask("initialize")
    assert answer.status == 200
    assert "mcp-session-id" not in answer.headers


@pytest.mark.parametrize("method", ["POST", "GET", "DELETE"])
@pytest.mark.parametrize(
    "session",
    ["s-1", sealed("s-1", "person:1"), sealed("s-1", service="plain"), f"{sealed('s-1')}x", ""],
    ids=["not sealed", "of a person", "of a service", "longer", "empty"],
)
def test_a_foreign_session_is_unknown_and_does_not_reach_the_service(
    gateway: ListingGateway, session: str, method: str
) -> None:
    answer = call(gateway, session, method)
    assert (answer.status, answer.json["error"]["data"]["error"]) == (404, "not_found")
    assert answer.json["id"] == (7 if method == "POST" else None)
    assert gateway.service.asked == []


@pytest.mark.parametrize("name", ["Mcp_Session_Id", "mcp.session.id"])
def test_the_service_gets_no_other_name_that_could_be_read_as_the_session(
    gateway: ListingGateway, name: str
) -> None:
    call(gateway, sealed("s-1"), **{name: "s-2"})
    values = {value for asked in gateway.service.asked for value in asked.headers.values()}
    assert "s-2" not in values
