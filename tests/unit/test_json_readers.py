"""The fast reader of JSON accepts exactly what the slow one accepts, and reads the same from it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core import strict_json
from tests.unit import slow_json

FOLDER = Path(__file__).parent


def outcome(reader: slow_json.Reader | strict_json.Reader, body: bytes) -> object:
    """The value with the types of its numbers, or the reason of the refusal."""
    try:
        return described(reader.parse(body))
    except ValueError as error:
        return str(error)


def described(value: object) -> object:
    """`value` in a form in which 1, 1.0 and true differ, and so do 0.0 and -0.0."""
    match value:
        case dict():
            return [("member", name, described(member)) for name, member in value.items()]
        case list():
            return [described(item) for item in value]
        case strict_json.WrittenNumber():
            return ("written", value.text, repr(float(value)))
        case _:
            return (type(value).__name__, repr(value))


def assert_same(body: bytes) -> None:
    for keeps_text in (False, True):
        slow, fast = (
            kind(deepest=32, longest_integer=100, keeps_text=keeps_text)
            for kind in (slow_json.Reader, strict_json.Reader)
        )
        assert outcome(fast, body) == outcome(slow, body)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(
    st.integers(), st.integers(-(10**105), 10**105), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)),
    max_leaves=30,
)
WRITTEN = st.builds(
    lambda value, ascii_only, compact: json.dumps(
        value, ensure_ascii=ascii_only, separators=(",", ":") if compact else None
    ).encode(),
    VALUES,
    st.booleans(),
    st.booleans(),
)
STRINGS = st.lists(
    st.sampled_from(["a", "[", "]", "{", "}", ",", '\\"', "\\\\", "\\n", "\\/", "\\u0041", "\\u005b", "1e999"]),
    max_size=4,
).map(lambda parts: '"' + "".join(parts) + '"')
"""Strings that a search for brackets or quotes could read wrongly."""
LEVELS = st.one_of(
    st.just("["),
    STRINGS.map(lambda name: "{" + name + ":"),
    STRINGS.map(lambda before: "[" + before + ","),
)
DEEP = st.builds(
    lambda levels, inner, after: (
        ("".join(levels) + inner + "".join("]" if level[0] == "[" else "}" for level in reversed(levels[1:])))
        + ("," + after + "]" if levels[0][0] == "[" else "}")
    ).encode(),
    st.lists(LEVELS, min_size=28, max_size=36),
    st.one_of(st.sampled_from(["1", "[]", "{}"]), STRINGS),
    STRINGS,
)
PIECES = st.sampled_from(
    [
        *'{}[],:" \t\n\\',
        *(
            '"a"',
            '"b"',
            '"\\u0061"',
            '"A"',
            "\\u0061",
            "\\ud800",
            "\\udc00",
            "\\ud83d\\ude00",
            "\\\\",
            '\\"',
            "\\x",
        ),
        *("0", "-0", "1", "-", "+1", "01", "1.", ".5", "1.50", "1e5", "1E+5", "1e99", "1e100", "1e308", "2e308"),
        *("-1e999", "1e-999", "1e+999", "9" * 99, "9" * 100, "9" * 101, "1" + "0" * 320 + ".0", "0." + "0" * 200),
        *("NaN", "Infinity", "-Infinity", "null", "true", "false", "nul", "/**/", "\0", "\x1f", "\x7f", "\ufeff"),
        *('"a":1', '"a":2', '"b":{}', "3e1234-e4567", '"1e999"', '"' + "9" * 120 + '"', "\u2028", "\x85"),
    ]
).map(str.encode)
BROKEN = st.one_of(
    PIECES, st.sampled_from([b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf"])
)
MEMBERS = st.lists(
    st.tuples(st.sampled_from([b'"a"', b'"b"', b'"\\u0061"', b'"a\\u0000"', b'"A"']), PIECES), max_size=4
)
OBJECTS = MEMBERS.map(lambda members: b"{" + b",".join(name + b":" + value for name, value in members) + b"}")


@given(st.one_of(WRITTEN, DEEP, OBJECTS, st.binary(max_size=60), st.lists(BROKEN, max_size=9).map(b"".join)))
@example(b"[" * 31 + b"1" + b"]" * 31)
@example(b"[" * 32 + b"]" * 32)
@example(b"[" * 32 + b"1" + b"]" * 32)
@example(b'[{"]":[' * 20 + b"]}]" * 20)
@example(b'["\\n",' + b"[" * 32 + b"]" * 32 + b',"\\n"]')
@example(b'{"a":"3e1234","b":1e999}')
@example(b'["\\\\",1e999,"\\""]')
@example(b"[" * 100_000)
@example(b"9" * 5000)
def test_both_readers_have_the_same_outcome(body: bytes) -> None:
    assert_same(body)


@given(
    st.one_of(WRITTEN, OBJECTS), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3), BROKEN), max_size=3)
)
def test_both_readers_have_the_same_outcome_for_a_changed_body(
    body: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    for place, length, put in changes:
        at = place % (len(body) + 1)
        body = body[:at] + put + body[at + length :]
    assert_same(body)


def corpus() -> list[bytes]:
    """Every text in the tests that read JSON from a caller: most are bodies that must be refused."""
    found = set()
    for name in ("test_strict_json.py", "test_mcp_request.py"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        for literal in re.findall(r"""b?"(?:[^"\\\n]|\\.)*"|b?'(?:[^'\\\n]|\\.)*'""", text):
            value = eval(literal)  # noqa: S307 - a literal of our own tests
            found.add(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
    return sorted(found)


def test_both_readers_have_the_same_outcome_for_every_text_of_the_other_tests() -> None:
    bodies = corpus()
    assert len(bodies) > 200
    call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":%s}}}'
    for body in bodies:
        for whole in (
            body,
            b"[" + body + b"]",
            call.replace(b"%s", body),
            json.dumps(body.decode("latin-1")).encode(),
        ):
            assert_same(whole)
