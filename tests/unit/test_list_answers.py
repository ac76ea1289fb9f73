"""The filter on answers with lists: a caller sees what a call would be allowed, and the rest stays as it was."""

from __future__ import annotations

import itertools
import json
import string
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.model import NameRule, Service, ToolRules
from oauth_core.policy.access import AccessResult, Rights, evaluate, held_permissions
from oauth_core.policy.jsonrpc_limits import ANSWER_BYTES, DEEPEST_IN_ANSWER, MOST_ENTRIES
from oauth_core.policy.list_answers import names_shown, open_answer
from oauth_core.policy.mcp_request import Call, CallFault, Message, NameKind, Session, call_of, parse_request
from oauth_core.policy.permissions import Permissions
from oauth_core.refusals import DenyReason
from tests.support.property_tests import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

READ, WRITE = "mcp.fetch.read", "mcp.fetch.write"
RULES = ToolRules(
    tools=(NameRule("get_*", (READ,)), NameRule("get_secret", (READ, WRITE)), NameRule("*", (WRITE,))),
    prompts=(NameRule("hello", (READ,)),),
    resources=(NameRule("file:///public/*", (READ,)), NameRule("file:///public/*.key", (READ, WRITE))),
)
SERVICE = Service(
    "fetch", "Fetch", "https://mcp.example/f", "http://127.0.0.1:1", "mcp.fetch", (READ, WRITE), RULES
)
READER = names_shown(SERVICE, {READ})
JSON, EVENTS = "application/json", "text/event-stream"


def answer(result: Any, **more: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 7, "result": result, **more})


def filtered(body: str | bytes, kind: str = JSON, *, resumed: bool = False) -> str:
    """The text that a reader sees of `body`, which arrives in one piece."""
    return in_pieces([body.encode() if isinstance(body, str) else body], kind, resumed=resumed)[0]


def in_pieces(
    pieces: Sequence[bytes], kind: str = EVENTS, *, resumed: bool = False
) -> tuple[str, DenyReason | None]:
    """The text that a reader sees of an answer that arrives in these pieces, and the fault."""
    found = open_answer(kind, None, READER, 7, resumed=resumed)
    seen = b"".join([found.add(piece) for piece in pieces])
    return (seen + found.end()).decode(), found.fault


def event(data: str, before: str = "", after: str = "") -> str:
    return f"{before}data: {data}\n{after}\n"


def error_in(text: str) -> dict[str, Any]:
    """The one JSON-RPC error in a body, or in the last event of a stream."""
    if text.startswith("{"):
        found = json.loads(text)
    else:
        found = json.loads(text.rstrip("\n").rpartition("\n")[2].removeprefix("data: "))
    assert found["jsonrpc"] == "2.0"
    assert "result" not in found
    error: dict[str, Any] = found["error"]
    return error


TOOLS = [{"name": "get_time"}, {"name": "get_secret"}, {"name": "purge"}]
LISTED = answer({"tools": TOOLS})
SHOWN = answer({"tools": TOOLS[:1]})


# -- shown -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "name", "shown", "hidden"),
    [
        (
            "tools",
            "name",
            ["get_time", "get_"],
            ["get_secret", "purge", "Get_time", " get_time", "get_\uff41", ""],
        ),
        ("prompts", "name", ["hello"], ["goodbye", "HELLO", "hello\u200b"]),
        (
            "resources",
            "uri",
            ["file:///public/a", "file:///public/%40"],
            ["file:///private/a", "file:///public/../private/a", "file:///public/a.key", "FILE:///public/a", "x"],
        ),
        (
            "resourceTemplates",
            "uriTemplate",
            ["file:///public/{name}", "file:///public/{+path}/{name}"],
            ["file:///{folder}/{name}", "file:///public/{name}.key", "{scheme}:///public/a", "{+uri}"],
        ),
    ],
)
def test_a_list_has_what_a_call_would_be_allowed(
    member: str, name: str, shown: list[str], hidden: list[str]
) -> None:
    entries = [{name: one, "title": f"entry {number}"} for number, one in enumerate([*hidden, *shown])]
    result = json.loads(filtered(answer({member: entries})))["result"]
    assert [entry[name] for entry in result[member]] == shown


@given(
    st.sampled_from(list(NameKind)),
    st.sampled_from(["get_a", "get_secret", "purge", "hello", "file:///public/a", "file:///public/a.key", "x:y"])
    | st.text(max_size=20)
    | st.text(max_size=20).map(lambda text: f"file:///public/{text}"),
    st.frozensets(st.sampled_from(["mcp.fetch", READ, WRITE, "mcp.time"])),
    st.frozensets(st.sampled_from(["mcp.fetch", READ, WRITE, "*"])),
    st.frozensets(st.sampled_from([READ, WRITE, "mcp.fetch"])),
)
@examples(300)
def test_a_name_is_shown_exactly_if_a_call_with_it_is_allowed(
    kind: NameKind, name: str, scopes: frozenset[str], granted: frozenset[str], forbidden: frozenset[str]
) -> None:
    method, member = {
        NameKind.TOOL: ("tools/call", "name"),
        NameKind.PROMPT: ("prompts/get", "name"),
        NameKind.RESOURCE: ("resources/read", "uri"),
    }[kind]
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": {member: name}}).encode()
    request: Session | Call | CallFault = parse_request(Message("POST", {"content-type": JSON}, body))
    rights = Rights(scopes, Permissions(granted, forbidden))
    is_allowed = evaluate(SERVICE, rights, request) is AccessResult.GRANTED
    assert names_shown(SERVICE, held_permissions(SERVICE, rights))(kind, name) == is_allowed


@given(st.sampled_from(list(NameKind)), st.text(max_size=30))
def test_a_name_of_a_list_is_read_as_in_a_request(kind: NameKind, name: str) -> None:
    call = call_of(kind, name)
    assert isinstance(call, CallFault) or call.name == name


def test_every_list_is_filtered_wherever_it_is() -> None:
    everything = {"tools": TOOLS, "prompts": [{"name": "bye"}], "resources": [{"uri": "file:///b"}]}
    assert json.loads(filtered(answer(everything)))["result"] == {
        "tools": TOOLS[:1],
        "prompts": [],
        "resources": [],
    }


# -- unchanged ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        SHOWN,
        answer({"tools": [], "nextCursor": "x"}),
        answer({"tools": None}),
        answer({"prompts": [{"name": "hello", "a": [1.0, 1e5, 0.1]}], "_meta": {"a/b": None}, "other": [1]}),
        '{ "jsonrpc" :"2.0",\r\n\t"id": 1.50, "result":{"x":"\\u00e9\\/\u2028"} , "unknown": -0.0}\n',
        json.dumps({"jsonrpc": "2.0", "id": 7, "error": {"code": -32601, "message": "No", "data": TOOLS}}),
        json.dumps({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": "No"}}),
        "",
    ],
)
def test_an_answer_without_hidden_entries_stays_byte_for_byte(body: str) -> None:
    assert filtered(body) == body


def test_all_beside_a_hidden_entry_stays_byte_for_byte() -> None:
    body = (
        '{"x": 1.0, "jsonrpc":"2.0","id":"a" ,\n "r\\u0065sult" : {"a":[ 1e2 ], "tools": [ {"name":"purge"} ,\n'
        '  {"n\\u0061me":"get_a", "s":[[]]} ,{"name":"x", "b":[{}]}\t, {"name":"get_b"} ] ,'
        '"nextCursor":"\\u00e9"}}\n'
    )
    assert filtered(body) == (
        '{"x": 1.0, "jsonrpc":"2.0","id":"a" ,\n "r\\u0065sult" : {"a":[ 1e2 ], "tools": [\n'
        '  {"n\\u0061me":"get_a", "s":[[]]} , {"name":"get_b"} ] ,"nextCursor":"\\u00e9"}}\n'
    )


def test_events_stay_byte_for_byte_and_in_order() -> None:
    progress = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"tools": TOOLS}})
    asked = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "sampling/createMessage", "params": {}})
    first = event(progress, "id:a b")
    second = event(asked, "event: message\n: a comment\n", "id: 2\nother\n")
    stream = f": hello\r\n\r\nid: 1\r\nretry: 5\r\ndata:\r\n\r\n{first}\n\n:\n{second}{event(SHOWN)}: bye"
    assert filtered(stream, EVENTS) == stream


def test_only_the_data_of_an_event_with_a_hidden_entry_changes() -> None:
    before, after = LISTED.split('"purge"')
    stream = f'id: 1\r\ndata:{before}\r\ndata:"purge"\r\nretry: 5\r\ndata: {after}\r\n\r\n: x\r\n\r\n'
    assert filtered(stream, EVENTS) == f"id: 1\r\ndata: {SHOWN}\r\nretry: 5\r\n\r\n: x\r\n\r\n"


def test_an_event_that_the_service_did_not_end_is_filtered_too() -> None:
    assert filtered(f"data: {LISTED}", EVENTS) == f"data: {SHOWN}"


def test_a_list_over_several_lines_stays_over_several_lines() -> None:
    text = json.dumps(json.loads(LISTED), indent=1)
    stream = "".join(f"data: {line}\n" for line in text.split("\n")) + "\n"
    seen = filtered(stream, EVENTS).removesuffix("\n\n").split("\n")
    assert json.loads("".join(line.removeprefix("data: ") for line in seen)) == json.loads(SHOWN)


@given(st.lists(st.integers(0, 400), max_size=6))
def test_the_pieces_in_which_a_stream_arrives_do_not_matter(cuts: list[int]) -> None:
    stream = f": x\r\n\r\nid: 1\r\ndata: {LISTED}\r\n\r\n:\n\nid: 2\ndata:\n\n".encode()
    places = [0, *sorted(cuts), len(stream)]
    pieces = [stream[begin:end] for begin, end in itertools.pairwise(places)]
    assert in_pieces(pieces) == in_pieces([stream])


def test_an_event_is_passed_on_as_soon_as_it_is_complete() -> None:
    found = open_answer(EVENTS, None, READER)
    assert found.add(b": keep-alive\n") == b": keep-alive\n"
    assert found.add(b"data: " + SHOWN.encode()) == b""
    assert found.add(b"\n\nid:") == b"data: " + SHOWN.encode() + b"\n\n"
    assert found.end() == b"id:"


# -- refused ---------------------------------------------------------------------------------------------


AMBIGUOUS = [
    "[]",
    f"[{LISTED}]",
    f"{LISTED}{LISTED}",
    f"\ufeff{LISTED}",
    LISTED.replace('"result"', '"Result"'),
    LISTED.replace('"result"', '"re\\u0000sult": 1, "result\\u0000"'),
    LISTED.replace('"result"', '"result": {}, "result"'),
    LISTED.replace('"result"', '"result": {}, "RESULT"'),
    LISTED.replace('"tools"', '"Tools"'),
    LISTED.replace('"tools"', '"tools": [], "t\\u006fols"'),
    LISTED.replace('"tools"', '"too\\u017fls"').replace("too\\u017fls", "tool\\u017f"),
    answer({"resource_templates": [{"uriTemplate": "file:///{a}"}]}),
    answer({"tools": {"purge": {"name": "purge"}}}),
    answer({"tools": "purge"}),
    answer([{"name": "purge"}]),
    answer(None),
    answer({"tools": TOOLS}, error={"code": 1, "message": "x"}),
    answer({"tools": TOOLS}, method="ping"),
    answer({"tools": TOOLS}, id=None),
    answer({"tools": TOOLS}, id=True),
    answer({"tools": TOOLS}, id=[7]),
    LISTED.replace('"2.0"', "2.0"),
    LISTED.replace("7", "NaN"),
    LISTED.replace("7", "1e999"),
    LISTED.replace("7", "7" * 5000),
    LISTED.replace('"purge"', '"\\ud800"'),
    LISTED.replace('"purge"', "'purge'"),
    LISTED.replace('"purge"', '"purge" // x\n'),
    LISTED.replace('"purge"', '"purge",'),
    LISTED.replace('{"name": "purge"}', "[" * 2 * DEEPEST_IN_ANSWER + "]" * 2 * DEEPEST_IN_ANSWER),
    LISTED.replace('{"name": "purge"}', "[" * 100_000),
    '{"jsonrpc": "2.0", "id": 7}',
    '{"jsonrpc": "2.0", "id": 7, "error": "purge"}',
    '"purge"',
    "purge",
]


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_a_text_that_programs_could_read_differently_is_refused(body: str) -> None:
    for seen in (filtered(body), filtered(event(body), EVENTS), filtered(event(body), EVENTS, resumed=True)):
        assert "purge" not in seen
        assert error_in(seen)["data"]["error"] == "bad_answer"


@pytest.mark.parametrize(
    "stream",
    [
        b"\xff" + event(LISTED).encode(),
        event(LISTED).replace("purge", "purge\x80").encode("latin-1"),
        event(LISTED, "\ufeff").encode(),
        event(LISTED).replace("data", "Data").encode(),
        event(LISTED).replace("data", " data").encode(),
        event(LISTED).replace("data", "data\0").encode(),
        event(LISTED).replace("data:", "data :").encode(),
        event(LISTED).replace("\n\n", "\r\r").encode(),
        LISTED.encode(),
        json.dumps(json.loads(LISTED), indent=1).encode(),
        f": a\n\n{LISTED}\n\n".encode(),
        event(LISTED, ": a\r").encode(),
        event(LISTED, "id: a\r").encode(),
        *(event(LISTED, f": a{char}").encode() for char in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
        *(event(LISTED, f"id: a{char}").encode() for char in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
        *(event(LISTED, f"other{char}").encode() for char in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
        *(event(f"{LISTED}{char}").encode() for char in "\v\f\x1c\x1d\x1e\x85\u2028\u2029"),
        event(LISTED.replace(",", ",\r")).encode(),
        event("ping", "event: ping\n").encode(),
        f"{event(SHOWN)}{event(LISTED)}".encode(),
        f"{event(SHOWN)}{event(json.dumps({'jsonrpc': '2.0', 'id': 7, 'error': {'code': 1}}))}".encode(),
    ],
)
def test_a_stream_that_programs_could_read_differently_is_refused(stream: bytes) -> None:
    seen, fault = in_pieces([stream])
    assert fault is DenyReason.LIST_UNREADABLE
    assert "purge" not in seen
    assert error_in(seen)["code"] == 502


def test_a_line_separator_in_a_text_is_escaped_so_that_all_programs_read_one_line() -> None:
    tools = [{"name": "get_a", "description": "a\u2028data: b\u2029\x85"}, {"name": "purge"}]
    stream = event(json.dumps({"jsonrpc": "2.0", "id": 7, "result": {"tools": tools}}, ensure_ascii=False))
    seen = filtered(stream, EVENTS)
    assert len(seen.splitlines()) == 2
    assert json.loads(seen.removeprefix("data: "))["result"]["tools"] == tools[:1]


def test_a_resumed_stream_has_answers_to_any_number_of_requests() -> None:
    called = json.dumps({"jsonrpc": "2.0", "id": 8, "result": {"content": [{"type": "text", "text": "purge"}]}})
    stream = f"{event(LISTED)}{event(called)}{event(LISTED)}"
    assert filtered(stream, EVENTS, resumed=True) == f"{event(SHOWN)}{event(called)}{event(SHOWN)}"


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "get_a",
        [],
        {},
        {"name": None},
        {"name": ["get_a"]},
        {"name": "get_a", "Name": "purge"},
        {"name": "get_a", "name\0": "purge"},
        {"name": "get_a", " name ": 1},
        {"title": "get_a"},
    ],
)
def test_an_entry_without_a_name_or_with_two_is_hidden(entry: object) -> None:
    assert filtered(answer({"tools": [TOOLS[0], entry]})) == SHOWN


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        (None, None),
        ("", None),
        ("text/plain", None),
        ("application/json, text/event-stream", None),
        ("application/jsonl", None),
        ("application/json; charset=utf-16", None),
        ("application/json; x=1; charset='utf-8'", None),
        ('text/event-stream; a="; charset=latin-1"', None),
        (JSON, "gzip"),
        (JSON, "identity, br"),
        (EVENTS, "br"),
    ],
)
def test_an_answer_of_another_type_is_refused(kind: str | None, encoding: str | None) -> None:
    found = open_answer(kind, encoding, READER, "a")
    assert found.fault is DenyReason.LIST_UNREADABLE
    assert found.add(LISTED.encode()) == b""
    refused = found.end().decode()
    assert error_in(refused)["code"] == 502
    assert json.loads(refused)["id"] == "a"
    assert found.end() == b""


@pytest.mark.parametrize("kind", ["APPLICATION/JSON ; Charset=UTF-8", 'application/json;charset="utf-8";x=y'])
def test_an_answer_in_utf_8_is_read(kind: str) -> None:
    assert open_answer(kind, "Identity", READER).fault is None


def test_names_with_runs_of_combining_marks_are_hidden() -> None:
    marks = "get_a" + "\u0300\u0316" * 500
    tools = [{"name": marks}, {"name": "get_a", marks: 1}, {"name": "get_e\u0301"}, {"name": "get_\u00e9"}]
    shown = json.loads(filtered(answer({"tools": tools})))["result"]["tools"]
    assert shown == [tools[1], tools[3]]
    templates = [{"uriTemplate": f"file:///public/{marks}"}, {"uriTemplate": "file:///public/e\u0301"}]
    shown = json.loads(filtered(answer({"resourceTemplates": templates})))["result"]["resourceTemplates"]
    assert shown == templates[1:]


@pytest.mark.parametrize("kind", [JSON, EVENTS])
def test_an_answer_without_end_is_refused_at_the_limit_and_nothing_follows(kind: str) -> None:
    found = open_answer(kind, None, READER, 7)
    seen, piece = found.add(b"data: {"), b" " * 65_536
    for _ in range(ANSWER_BYTES // len(piece) + 1):
        seen += found.add(piece)
    assert found.fault is DenyReason.LIST_TOO_LARGE
    seen += found.add(piece) + found.add(event(SHOWN).encode()) + found.end() + found.end()
    assert error_in(seen.decode())["code"] == 502
    assert seen.count(b"jsonrpc") == 1


def test_a_stream_of_comments_may_go_on() -> None:
    found = open_answer(EVENTS, None, READER, 7)
    comments = b": keep-alive\n\n" * 1000
    for _ in range(ANSWER_BYTES // len(comments) + 2):
        assert found.add(comments) == comments
    assert found.fault is None


def test_more_entries_than_an_answer_may_have_are_refused() -> None:
    most = [{"name": "get_a"}] * MOST_ENTRIES
    assert filtered(answer({"tools": most})) == answer({"tools": most})
    for more in ({"tools": [*most, {"name": "get_a"}]}, {"tools": most, "prompts": [{"name": "hello"}]}):
        assert error_in(filtered(answer(more)))["code"] == 502


def test_an_error_repeats_the_id_of_the_request_or_of_the_broken_answer() -> None:
    for request_id, expected in ((7, 7), ("x", "x"), (None, "seen")):
        found = open_answer(EVENTS, None, READER, request_id, resumed=True)
        broken = found.add(event(LISTED.replace("7", '"seen"').replace('"purge"', "NaN,NaN")).encode())
        assert json.loads(broken.split(b"data: ")[1])["id"] == expected


# -- properties --------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["get_a", "get_b", "get_secret", "PURGE", "hello", "GOODBYE"]) | st.text(
    string.ascii_letters, min_size=1, max_size=6
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=3),
    max_leaves=8,
)
HIDDEN_NAMES = st.integers(0, 10**6).map(lambda number: f"HIDDEN{number}X")
ENTRY = st.builds(
    lambda name, more: {**more, "name": name},
    NAMES | HIDDEN_NAMES,
    st.dictionaries(st.sampled_from("abc"), VALUES),
)
RESULT = st.builds(
    lambda more, lists: {**more, **lists},
    st.dictionaries(st.sampled_from(["nextCursor", "_meta", "ttlMs", "x"]), VALUES),
    st.dictionaries(st.sampled_from(["tools", "prompts"]), st.lists(ENTRY, max_size=6), min_size=1),
)


def naive(result: dict[str, Any]) -> dict[str, Any]:
    """`result` without what a reader may not use, by the plainest means."""
    kinds = {"tools": NameKind.TOOL, "prompts": NameKind.PROMPT}
    return {
        member: [entry for entry in value if READER(kinds[member], entry["name"])] if member in kinds else value
        for member, value in result.items()
    }


@given(RESULT, st.booleans(), st.sampled_from([None, 1]), st.booleans())
@examples(300)
def test_the_filter_does_what_a_naive_model_does(
    result: dict[str, Any], is_ascii: bool, indent: int | None, is_stream: bool
) -> None:
    message = {"jsonrpc": "2.0", "id": 7, "result": result}
    text = json.dumps(message, ensure_ascii=is_ascii, indent=indent)
    if is_stream:
        lines = "\n".join(f"data: {line}" for line in text.split("\n"))
        seen = filtered(f"id: 1\n{lines}\n\n", EVENTS).split("\n")
        found = json.loads("\n".join(line.removeprefix("data: ") for line in seen if line.startswith("data")))
    else:
        found = json.loads(filtered(text))
    assert found == message | {"result": naive(result)}
    # Members stay in their order too.
    assert list(found["result"]) == list(result)
    assert "HIDDEN" not in json.dumps(found)


@given(st.data())
@examples(300)
def test_a_hidden_name_never_gets_through_whatever_is_changed(data: st.DataObject) -> None:
    """A list with a hidden tool, changed at random places: either it is refused, or the tool is not in a list."""
    is_stream = data.draw(st.booleans())
    text = event(LISTED, "id: 1\n") if is_stream else LISTED
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 3))
        text = (
            text[:place]
            + data.draw(st.sampled_from([*'{}[],:" \n\r\\', "\u2028", "data: "]))
            + text[place + length :]
        )
    seen = filtered(text, EVENTS if is_stream else JSON)
    for line in seen.splitlines() if is_stream else [seen]:
        try:
            found = json.loads(line.removeprefix("data:"))
        except ValueError:
            continue
        result = found.get("result") if isinstance(found, dict) else None
        entries = result.get("tools") if isinstance(result, dict) else None
        for entry in entries if isinstance(entries, list) else []:
            assert READER(NameKind.TOOL, entry["name"])


@given(
    st.lists(st.binary(max_size=60), max_size=5), st.sampled_from([JSON, EVENTS, "", "text/plain"]), st.booleans()
)
@example([b"data: \xff\n\n"], EVENTS, False)
@example([b"\n", b"\r", b"\n", b"data"], EVENTS, False)
def test_no_bytes_make_the_filter_fail(pieces: list[bytes], kind: str, resumed: bool) -> None:
    found = open_answer(kind, None, READER, 7, resumed=resumed)
    for piece in pieces:
        found.add(piece)
    found.end()
    assert found.end() == b""
