"""The call in the body of a request: it has one meaning, or the request is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.policy.mcp_request import Call, CallFault, Message, NameKind, Session, parse_request
from oauth_core.strict_json import WrittenNumber

JSON = {"content-type": "application/json"}


def sent_with_arguments(body: str) -> Session | Call | CallFault:
    """The same at a service whose rules depend on arguments."""
    return parse_request(Message("POST", JSON, body.encode()), with_arguments=True)


def sent(body: bytes | str, **headers: str) -> Session | Call | CallFault:
    """The result of parsing a POST of `body`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return parse_request(Message("POST", JSON | named, body.encode() if isinstance(body, str) else body))


def message(method: str = "tools/call", **params: Any) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})


TOOL = message(name="get_time")


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (TOOL, Call("tools/call", NameKind.TOOL, "get_time")),
        (message("prompts/get", name="hi"), Call("prompts/get", NameKind.PROMPT, "hi")),
        (
            message("resources/read", uri="file:///a%20b"),
            Call("resources/read", NameKind.RESOURCE, "file:///a%20b"),
        ),
        (
            message("completion/complete", ref={"type": "ref/prompt", "name": "hi"}),
            Call("completion/complete", NameKind.PROMPT, "hi"),
        ),
        (
            message("completion/complete", ref={"type": "ref/resource", "uri": "file:///{name}"}),
            Call("completion/complete", NameKind.RESOURCE, "file:///{name}"),
        ),
        (message("ping"), Call("ping")),
        (message(), Call("tools/call", NameKind.TOOL)),
        (message("resources/read"), Call("resources/read", NameKind.RESOURCE)),
        (message("completion/complete"), Call("completion/complete", NameKind.PROMPT)),
        (message("completion/complete", ref=None), Call("completion/complete", NameKind.PROMPT)),
        (message("completion/complete", ref={"type": "ref/x"}), Call("completion/complete", NameKind.PROMPT)),
        (
            message("completion/complete", ref={"type": "ref/x", "name": "a"}),
            Call("completion/complete", NameKind.PROMPT, "a", names_more=True),
        ),
        (
            message("completion/complete", ref={"name": "a", "uri": "file:///b"}),
            Call("completion/complete", NameKind.PROMPT, "a", ("file:///b",), names_more=True),
        ),
        (
            message("completion/complete", ref={"type": "ref/tool", "id": "a"}),
            Call("completion/complete", NameKind.PROMPT, names_more=True),
        ),
        (message("subscriptions/listen", notifications=None), Call("subscriptions/listen")),
        *((message(method), Call(method)) for method in ("vendor:thing", "@x/y~z", "x+y", "x,y;z", "{}", "*")),
        ('{"jsonrpc":"2.0","method":"notifications/initialized"}', Call("notifications/initialized")),
        ('{"jsonrpc":"2.0","id":"a","result":{}}', Session.ANSWER),
        ('{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x"}}', Session.ANSWER),
        (f" \r\n\t{TOOL} \n", Call("tools/call", NameKind.TOOL, "get_time")),
    ],
)
def test_requests_of_real_clients_are_parsed(body: str, expected: Session | Call) -> None:
    assert sent(body) == expected


def test_a_name_or_uri_with_a_long_run_of_combining_marks_is_ambiguous() -> None:
    assert sent(message(name="a" + "\u0300\u0316" * 15)) == CallFault.AMBIGUOUS_NAME  # not in a normal form
    for name in ("a" + "\u0316" * 31, "a" + "\u0316" * 2000):
        assert sent(message(name=name)) is CallFault.AMBIGUOUS_NAME
        assert sent(message("resources/read", uri=f"note:///{name}")) is CallFault.AMBIGUOUS_NAME
    assert sent(message(name="a" + "\u0316" * 30)) == Call("tools/call", NameKind.TOOL, "a" + "\u0316" * 30)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("", CallFault.MISSING),
        ("[]", CallFault.BATCH),
        (f"[{TOOL}]", CallFault.BATCH),
        (f"{TOOL}{TOOL}", CallFault.UNREADABLE),
        (f"{TOOL}\0", CallFault.UNREADABLE),
        (f"\ufeff{TOOL}", CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "n\\u0061me": "b"'), CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "x": {"y": 1, "y": 2}'), CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "x": -Infinity'), CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "x": 1e400'), CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "x": "\\ud800"'), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "x": ' + "[" * 5000 + "]" * 5000), CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', "'name': 'a'"), CallFault.UNREADABLE),
        (TOOL.replace('"name": "get_time"', '"name": "a", // b\n'), CallFault.UNREADABLE),
        (TOOL.replace('"params"', '"Method": "x", "params"'), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"name": "get_time"', '"name": "a", "NAME": "b"'), CallFault.INVALID_PARAMS),
        (TOOL.replace('"name": "get_time"', '"name": "a", "name\\u0000": "b"'), CallFault.INVALID_PARAMS),
        (TOOL.replace('"name": "get_time"', '"name": "a", " name": "b"'), CallFault.INVALID_PARAMS),
        (TOOL.replace("2.0", "1.0"), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"id": 1', '"id": null'), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"id": 1', '"id": true'), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"id": 1', '"id": 1.0'), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"id": 1', '"id": 1, "result": {}'), CallFault.NOT_A_MESSAGE),
        (TOOL.replace('"get_time"', '["get_time"]'), CallFault.INVALID_PARAMS),
        (message(name=None), CallFault.INVALID_PARAMS),
        (message(Name="get_time"), CallFault.INVALID_PARAMS),
        ('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":["get_time"]}', CallFault.INVALID_PARAMS),
        (message("completion/complete", ref={"type": "ref/x", "name": ["a"]}), CallFault.INVALID_PARAMS),
        (message("completion/complete", ref={"type": "ref/x", "Name": "a"}), CallFault.INVALID_PARAMS),
        (
            message("completion/complete", ref={"type": "ref/x", "uri": "file:///a/../b", "name": "a"}),
            CallFault.INVALID_PARAMS,
        ),
        (message("completion/complete", ref="ref/prompt"), CallFault.INVALID_PARAMS),
        (message("tools/call\n", name="a"), CallFault.NOT_A_MESSAGE),
        ('"tools/call"', CallFault.NOT_A_MESSAGE),
        *(
            (f'{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}', fault)
            for method in ("ping", "tools/call", "initialize", "subscriptions/listen")
            for params, fault in (
                ("null", CallFault.NOT_A_MESSAGE),
                ("0", CallFault.NOT_A_MESSAGE),
                ('""', CallFault.NOT_A_MESSAGE),
                ("false", CallFault.NOT_A_MESSAGE),
                ("[]", CallFault.INVALID_PARAMS),
                ("[{}]", CallFault.INVALID_PARAMS),
            )
        ),
        *(
            (TOOL.replace('"id": 1', f'"id": {value}'), CallFault.NOT_A_MESSAGE)
            for value in ("1.5", "1e0", "-0.0", "[]", "{}", "[1]", '"\\udc00"')
        ),
        *(
            (TOOL.replace('"id"', f'"{name}": 1, "id"'), CallFault.NOT_A_MESSAGE)
            for name in ("x", "ID", "", "\\ud800")
        ),
        ("null", CallFault.NOT_A_MESSAGE),
    ],
)
def test_an_ambiguous_body_is_refused(body: str, fault: CallFault) -> None:
    assert sent(body) is fault


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a\0b", "a\nb", "\ufb01le", "\uff41", "a\u200b", "e\u0301", "x" * 3000]
)
def test_a_name_that_normalises_to_another_is_refused(name: str) -> None:
    assert sent(message(name=name)) is CallFault.AMBIGUOUS_NAME


@pytest.mark.parametrize(
    "character", ["\u202e", "\u2066", "\u2028", "\x85", "\ufeff", "\u00ad", "\ufffe", "\U000e0001\ufffe"]
)
def test_a_name_with_invisible_or_bidirectional_characters_is_refused(character: str) -> None:
    assert sent(message(name=f"a{character}b")) is CallFault.AMBIGUOUS_NAME
    assert sent(message("prompts/get", name=f"a{character}b")) is CallFault.AMBIGUOUS_NAME
    assert sent(message("resources/read", uri=f"note:///a{character}b")) is CallFault.AMBIGUOUS_NAME


@pytest.mark.parametrize(
    "name",
    [
        *(
            "\u06a9\u062a\u0627\u0628\u200c\u0647\u0627",
            "\u0915\u094d\u200d\u0937",
            "\U0001f468\u200d\U0001f469\u200d\U0001f467",
        ),
        *(
            "\u2764\ufe0f",
            "\U0001fae9",
            "\U0001faea",
            "\U0001f3f4\U000e0067\U000e0062\U000e007f",
            "l\u2019heure",
            "\u6642\u9593",
        ),
    ],
)
def test_names_in_every_script_and_with_emoji_are_accepted(name: str) -> None:
    assert sent(message(name=name)) == Call("tools/call", NameKind.TOOL, name)
    assert sent(message("prompts/get", name=name)) == Call("prompts/get", NameKind.PROMPT, name)
    uri = f"note:///{name}"
    assert sent(message("resources/read", uri=uri)) == Call("resources/read", NameKind.RESOURCE, uri)


@pytest.mark.parametrize(
    "uri",
    [
        "file:///public/../etc/passwd",
        "file:///public/./x",
        "file:///public/..",
        "file:///public/%2e%2e/etc",
        "file:///public/%2Fetc",
        "file:///public%5Cx",
        "file:///public//x",
        "file:///public\\x",
        "FILE:///public/x",
        "https://EXAMPLE.com/x",
        "file:///public%252Fx",
        "file:///a%00",
        "file:///a%2",
        "file:///a ",
        "file:///a\tb",
        "file:///a\u202eb",
        "/etc/passwd",
        "",
    ],
)
def test_a_uri_that_programs_parse_differently_is_refused(uri: str) -> None:
    assert sent(message("resources/read", uri=uri)) is CallFault.AMBIGUOUS_NAME


@pytest.mark.parametrize(
    "uri",
    ["file:///a/b.txt", "https://example.com/a?q=../x#..", "note://x", "urn:isbn:1", "db://t/r%C3%A9", "a:b..c"],
)
def test_a_plain_uri_is_accepted(uri: str) -> None:
    assert sent(message("resources/read", uri=uri)) == Call("resources/read", NameKind.RESOURCE, uri)


@pytest.mark.requirement("mcp:header-body")
@pytest.mark.parametrize(
    ("headers", "fits"),
    [
        ({"mcp_method": "tools/call", "mcp_name": "get_time"}, True),
        ({"mcp_name": "=?base64?Z2V0X3RpbWU=?="}, True),
        ({"mcp_method": "tools/list"}, False),
        ({"mcp_method": "TOOLS/CALL"}, False),
        ({"mcp_method": "tools/call,tools/call"}, False),
        ({"mcp_name": "get_time,other"}, False),
        ({"mcp_name": "=?base64?!!!?="}, False),
        ({"mcp_name": "=?base64?/w==?="}, False),
        ({"mcp_name": ""}, False),
    ],
)
@pytest.mark.requirement("sep-2243:agree")
def test_headers_must_agree_with_the_body(headers: dict[str, str], fits: bool) -> None:
    assert (sent(TOOL, **headers) is not CallFault.HEADER_MISMATCH) is fits


@pytest.mark.requirement("sep-2243:without-name")
def test_a_name_header_without_a_name_in_the_body_is_a_mismatch() -> None:
    assert sent(message("ping"), mcp_name="get_time") is CallFault.HEADER_MISMATCH
    assert sent('{"jsonrpc":"2.0","id":1,"result":{}}', mcp_method="ping") is CallFault.HEADER_MISMATCH
    assert sent(message("tasks/get", taskId="t1"), mcp_name="t1") == Call("tasks/get")


@pytest.mark.parametrize(
    ("headers", "fault"),
    [
        ({"content_encoding": "gzip"}, CallFault.ENCODED),
        ({"content_encoding": "identity, gzip"}, CallFault.ENCODED),
        ({"content_type": "text/plain"}, CallFault.NOT_JSON),
        ({"content_type": "application/json; charset=utf-16"}, CallFault.NOT_JSON),
        ({"content_type": "application/json,text/plain"}, CallFault.NOT_JSON),
        ({"content_type": "application/json; charset=utf-8; charset=utf-7"}, CallFault.NOT_JSON),
        ({"content_type": 'application/json; x="; charset=utf-7; "'}, CallFault.NOT_JSON),
        ({"content_type": "application/json; charset*=utf-16''x"}, CallFault.NOT_JSON),
        ({"content_type": "application/json; x"}, CallFault.NOT_JSON),
        ({"content_type": "application/json; x = y"}, CallFault.NOT_JSON),
        ({"content_type": 'application/json; x="y'}, CallFault.NOT_JSON),
        ({"content_type": "application/json; x=y, text/plain"}, CallFault.NOT_JSON),
        ({"content_type": "application/json" + " ; ; " * 5000 + "\x01"}, CallFault.NOT_JSON),
        ({"content_type": "application/jsonx"}, CallFault.NOT_JSON),
        ({"content_length": "7"}, CallFault.PARTIAL),
    ],
)
def test_a_body_of_another_content_type_or_encoding_is_refused(headers: dict[str, str], fault: CallFault) -> None:
    assert sent(TOOL, **headers) is fault


def test_a_uri_with_too_many_readings_is_refused_alone_and_in_sum() -> None:
    def listened(uris: list[str]) -> object:
        return sent(message("subscriptions/listen", notifications={"resourceSubscriptions": uris}))

    plain = [f"db://table-{number}?a=1;b=2&c=x+y" for number in range(100)]
    assert isinstance(listened(plain), Call)
    many = "postgres://me:secret@host:5432/db?a=1&b=x+y#z"
    assert isinstance(listened([many] * 5), Call)
    assert isinstance(sent(message("resources/read", uri=many)), Call)
    assert listened([f"{many}{number}" for number in range(100)]) is CallFault.AMBIGUOUS_NAME
    most = "note://me:secret@host.:80/a;b?c+d e#f%3Bg%23h%3Fi"
    assert sent(message("resources/read", uri=most)) is CallFault.AMBIGUOUS_NAME


@pytest.mark.parametrize(
    "kind",
    [
        "APPLICATION/Json",
        "application/json;profile=x",
        'application/json ; Profile="https://example.com/a;b, \\"c\\"" ; v=1',
        "application/json; charset=UTF-8; profile=x",
        "application/json; charset=utf8",
        'application/json;charset="utf-8";',
        "application/json;;\tq=1 ",
        "application/json; charset=utf-8; CHARSET=utf-8",
    ],
)
def test_parameters_and_case_of_the_media_type_make_no_difference(kind: str) -> None:
    assert sent(TOOL, content_type=kind) == Call("tools/call", NameKind.TOOL, "get_time")


_WORDS = st.text("abcXYZ019!#$%&'*+.^_`|~-", min_size=1, max_size=8)
_SPACES = st.sampled_from(["", " ", "\t "])
_QUOTED = st.text("aZ ;,=/\t", max_size=12).map(lambda text: f'"{text}"')
_PARAMETERS = st.lists(st.tuples(_SPACES, _SPACES, _WORDS, st.one_of(_WORDS, _QUOTED)), max_size=5)


@given(_PARAMETERS)
def test_any_well_formed_parameters_are_accepted(parameters: list[tuple[str, str, str, str]]) -> None:
    text = "".join(f"{before};{after}{name}={value}" for before, after, name, value in parameters)
    assert sent(TOOL, content_type=f"application/json{text}") == Call("tools/call", NameKind.TOOL, "get_time")


def test_a_partial_body_is_refused() -> None:
    assert parse_request(Message("POST", JSON, TOOL.encode(), is_partial=True)) is CallFault.PARTIAL


@pytest.mark.parametrize("method", ["PUT", "PATCH", "OPTIONS", "TRACE", "post", "", "CONNECT"])
def test_other_http_methods_are_refused(method: str) -> None:
    assert parse_request(Message(method, JSON, TOOL.encode())) is CallFault.WRONG_METHOD


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_requests_that_open_or_end_a_stream_have_no_body(method: str) -> None:
    assert isinstance(parse_request(Message(method, {}, b"")), Session)
    assert parse_request(Message(method, {}, b"x")) is CallFault.WRONG_METHOD
    assert parse_request(Message(method, {"content-length": "9"}, b"")) is CallFault.WRONG_METHOD


# -- properties ---------------------------------------------------------------------------------------------------


class Lenient:
    """Every reading of a body that some program might have: for repeated members the first, the last, any case."""

    def __init__(self, text: str) -> None:
        self.pairs: list[list[tuple[str, Any]]] = []
        json.loads(text, object_pairs_hook=self._keep)

    def _keep(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        self.pairs.append(pairs)
        return dict(pairs)

    def names(self) -> set[str]:
        """Every text under a member like `name`, anywhere a call has it."""
        top = self.pairs[-1]
        params = [value for key, value in top if key.casefold() == "params" and isinstance(value, dict)]
        return {
            value
            for each in params
            for key, value in each.items()
            if key.casefold() == "name" and isinstance(value, str)
        }


_keys = st.sampled_from(["name", "Name", "n\\u0061me", "NAME", "arguments", "params", "x", "name\\u0000"])
_values = st.recursive(
    st.sampled_from(['"a"', '"b"', "1", "null", "NaN", '"\\ud800"', "1e999", "[]"]),
    lambda inner: st.lists(st.tuples(_keys, inner), max_size=3).map(
        lambda pairs: "{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}"
    ),
    max_leaves=6,
)
_tops = st.sampled_from(["jsonrpc", "id", "method", "params", "Params", "par\\u0061ms", "result", "METHOD"])
_bodies = st.lists(
    st.one_of(
        st.sampled_from(['"jsonrpc":"2.0"', '"id":1', '"method":"tools/call"']),
        st.tuples(_tops, _values).map(lambda pair: f'"{pair[0]}":{pair[1]}'),
    ),
    min_size=3,
    max_size=6,
).map(lambda members: "{" + ",".join(members) + "}")


@given(_bodies)
@example('{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}')
@example('{"jsonrpc":"2.0","id":1,"method":"tools/call"}')
def test_no_program_reads_another_tool_than_the_one_in_the_decision(body: str) -> None:
    found = sent(body)
    if isinstance(found, Call) and found.kind is NameKind.TOOL:
        assert Lenient(body).names() == (set() if found.name is None else {found.name})


@given(st.binary(max_size=200))
def test_any_body_gets_a_result(body: bytes) -> None:
    assert isinstance(sent(body), Session | Call | CallFault)


@given(st.text(max_size=60), st.integers(0, 80), st.text(max_size=2))
def test_a_changed_body_has_the_name_that_json_reads_or_is_refused(name: str, place: int, put: str) -> None:
    whole = message(name=name)
    changed = whole[:place] + put + whole[place + 1 :]
    found = sent(changed.encode("utf-8", "surrogatepass"))
    if isinstance(found, Call) and found.kind is NameKind.TOOL:
        assert json.loads(changed)["params"].get("name") == found.name


@pytest.mark.parametrize(("method", "kind"), [("tools/call", NameKind.TOOL), ("prompts/get", NameKind.PROMPT)])
def test_the_arguments_of_a_call_are_kept_where_rules_depend_on_them(method: str, kind: NameKind) -> None:
    body = message(method, name="a", arguments={"path": "/x", "list": [1, {"deep": None}]})
    assert sent_with_arguments(body) == Call(
        method, kind, "a", arguments={"path": "/x", "list": [1, {"deep": None}]}
    )
    assert sent(body) == Call(method, kind, "a")
    for without in (message(method, name="a"), message(method, name="a", arguments=None)):
        assert sent_with_arguments(without) == Call(method, kind, "a", arguments={})


def test_only_calls_have_arguments() -> None:
    body = message("resources/read", uri="file:///a", arguments={"a": 1})
    assert sent_with_arguments(body) == Call("resources/read", NameKind.RESOURCE, "file:///a")
    assert sent_with_arguments(message("ping", arguments={"a": 1})) == Call("ping")


@pytest.mark.parametrize(
    "params",
    [
        {"arguments": ["path"]},
        {"arguments": "{}"},
        {"arguments": 0},
        {"arguments": False},
        {"arguments": {}, "Arguments": {}},
        {"ARGUMENTS": {}},
        {"arguments\0x": {}},
        {"arguments": {}, "\uff41rguments": {}},
    ],
)
def test_arguments_that_another_reader_could_read_differently_are_refused(params: dict[str, Any]) -> None:
    assert sent_with_arguments(message(name="a", **params)) is CallFault.AMBIGUOUS_ARGUMENTS
    assert sent(message(name="a", **params)) == Call("tools/call", NameKind.TOOL, "a"), "no rule depends on them"


@pytest.mark.parametrize("text", ["0.10", "1e2", "-0", "-0.0", "1E-5", "100.00000000000000000001"])
def test_a_number_that_readers_could_round_keeps_its_text(text: str) -> None:
    body = message(name="a", arguments={"n": 7}).replace("7", text)
    call = sent_with_arguments(body)
    assert isinstance(call, Call)
    assert isinstance(call.arguments, dict)
    number = call.arguments["n"]
    assert isinstance(number, WrittenNumber)
    assert (number.text, number) == (text, float(text))
