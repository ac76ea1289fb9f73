"""Rules over the arguments of a call: they hold for every reader of the arguments, or the call is refused."""

from __future__ import annotations

import json
import posixpath
import re
import unicodedata
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from oauth_core.model import Service, ToolRules
from oauth_core.policy.access import AccessResult, MissingScopes, Rights, UnmetArguments, evaluate
from oauth_core.policy.argument_rules import ANY_ARGUMENTS, MOST_ITEMS, MOST_MEMBERS, Unmet, unmet
from oauth_core.policy.list_answers import names_shown
from oauth_core.policy.mcp_request import Call, CallFault, Message, NameKind, parse_request
from oauth_core.policy.path_globs import path_matches, pattern_of
from oauth_core.policy.permissions import Permissions
from oauth_core.policy.tool_rules import required_for
from oauth_core.settings.argument_rules import WaySettings
from oauth_core.settings.roles import PermissionSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oauth_core.model import Way

READ, WRITE, ADMIN = "mcp.files.read", "mcp.files.write", "mcp.files.admin"


def way_of(arguments: dict[str, Any], **others: Any) -> Way:
    return WaySettings.model_validate({"needs": READ, "arguments": arguments, **others}).way


def call_with(arguments: str) -> Call:
    """A call with the arguments in this JSON, as the check reads it."""
    body = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"a","arguments":{arguments}}}}}'
    headers = {"content-type": "application/json"}
    call = parse_request(Message("POST", headers, body.encode()), with_arguments=True)
    assert isinstance(call, Call), call
    return call


def fault(conditions: dict[str, Any], arguments: str | dict[str, Any], **others: Any) -> Unmet | None:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return unmet(way_of(conditions, **others), call_with(text).arguments)


def holds(conditions: dict[str, Any], arguments: str | dict[str, Any]) -> bool:
    return fault(conditions, arguments) is None


def is_ambiguous(conditions: dict[str, Any], arguments: str | dict[str, Any]) -> bool:
    found = fault(conditions, arguments)
    return found is not None and found.is_ambiguous


@pytest.mark.parametrize(
    ("condition", "met", "not_met"),
    [
        ({"present": True}, ["0", '""', "false", "[]", "{}"], ["null"]),
        ({"glob": "a*"}, ['"a"', '"abc"', '"a b"'], ['"b"', '"A"', "1", "null", '["a"]', '{"a":1}', "true"]),
        ({"glob": ["a*", "*z"]}, ['"ab"', '"yz"'], ['"b"', '""']),
        (
            {"path": "/p/**"},
            ['"/p/a"', '"/p/a/b.txt"', '"/p/a/"', '"/p/ü"'],
            ['"/p"', '"/q/a"', '"p/a"', "1", '""'],
        ),
        ({"path": "src/*.py"}, ['"src/a.py"'], ['"src/a/b.py"', '"/src/a.py"', '"src/a.pyc"']),
        ({"one_of": ["a", 1, True]}, ['"a"', "1", "1.0", "true"], ['"1"', '"A"', "2", "false", "null", '"true"']),
        ({"one_of": [1]}, ["1"], ["true", '"1"', "[1]"]),
        ({"one_of": [True]}, ["true"], ["1", '"true"', "1.0"]),
        ({"at_least": 1, "at_most": 10}, ["1", "10", "9.99", "1.0"], ["0", "11", "10.01", '"5"', "true", "[5]"]),
        ({"at_least": 0.1}, ["0.1", "1"], ["0.09"]),
        ({"integer": True}, ["5", "-5", "5.0"], ["5.5", '"5"', "true"]),
        ({"max_length": 3}, ['"abc"', '""', '"äöü"'], ['"abcd"', "1", "[]"]),
        ({"min_length": 1}, ['"a\\nb"'], ['""']),
        ({"min_items": 1, "max_items": 2}, ["[1]", "[1,2]"], ["[]", "[1,2,3]", '"ab"', "{}"]),
    ],
)
def test_a_condition_holds_for_the_values_that_it_describes(
    condition: dict[str, Any], met: list[str], not_met: list[str]
) -> None:
    for value in met:
        assert holds({"x": condition}, f'{{"x":{value}}}'), value
    for value in not_met:
        assert not holds({"x": condition}, f'{{"x":{value}}}'), value
    assert not holds({"x": condition}, "{}"), "a field that is missing meets no condition"
    if "present" not in condition:
        optional = {"x": {**condition, "optional": True}}
        assert holds(optional, "{}")
        assert all(not holds(optional, f'{{"x":{value}}}') for value in not_met)


def test_a_field_that_must_be_left_out_may_not_be_given_as_null_either() -> None:
    condition = {"force": {"present": False}}
    assert holds(condition, {})
    assert holds(condition, {"other": True})
    for value in (None, False, True, ""):
        assert not holds(condition, {"force": value})


@pytest.mark.parametrize(
    "text", ["1e1", "10E-1", "-0", "-0.0", "1.0000000000000001", "9007199254740992", "-9007199254740993", "1e-400"]
)
def test_a_number_that_programs_round_differently_meets_no_condition(text: str) -> None:
    for condition in ({"at_most": 10**9}, {"at_least": -(10**9)}, {"integer": True}, {"one_of": [0, 1, 10]}):
        assert is_ambiguous({"x": condition}, f'{{"x":{text}}}')
    assert holds({"x": {"present": True}}, f'{{"x":{text}}}'), "no rule depends on its value"


@pytest.mark.parametrize(
    "twin",
    ["Path", "PATH", "path\\u0000x", " path ", "p\\uff41th", "pa_th", "pa-th", "path[]", "\\u017fource", "Path.0"],
)
def test_a_second_spelling_of_a_field_is_refused(twin: str) -> None:
    name = "source" if "017f" in twin else "path"
    if twin == "Path.0":
        assert holds({"path": {"glob": "a"}}, '{"path":"a","Path.0":1}'), "another name"
        return
    assert is_ambiguous({name: {"glob": "a"}}, f'{{"{name}":"a","{twin}":"b"}}')
    assert not holds({name: {"present": False}}, f'{{"{twin}":"b"}}')
    assert not holds({name: {"glob": "a", "optional": True}}, f'{{"{twin}":"b"}}')


def test_a_second_spelling_counts_at_each_object_on_the_way() -> None:
    condition = {"options.depth": {"at_most": 3}}
    assert holds(condition, {"options": {"depth": 3, "x": 9}})
    others: list[dict[str, Any]] = [
        {name: 9} for name in ("Options", "options.depth", "options_depth", "optionsDepth")
    ]
    for other in others:
        assert is_ambiguous(condition, {"options": {"depth": 3}, **other}), other
    assert is_ambiguous(condition, {"options": {"depth": 3, "Depth": 9}})
    for twin in ("a.b", "aB", "a.b.c"):
        arguments = {"a": {"b": {"c": "x"}}, twin: {"c": "y"}}
        assert is_ambiguous({"a.b.c": {"glob": "x"}}, arguments), twin
    for options in (None, 1, [], "x", [{"depth": 3}]):
        assert not holds(condition, {"options": options})


def test_each_item_of_a_list_must_meet_the_condition() -> None:
    condition = {"files[].path": {"path": "/p/*"}}
    assert holds(condition, {"files": [{"path": "/p/a"}, {"path": "/p/b", "n": 1}]})
    wrong: list[Any] = [[], [{"path": "/p/a"}, {"path": "/q"}], [{}], ["/p/a"], {"path": "/p/a"}, None, "/p/a"]
    for files in wrong:
        assert not holds(condition, {"files": files}), files
    assert is_ambiguous(condition, {"files": [{"path": "/p/a"}, {"path": "/p/a", "Path": "/q"}]})
    assert holds({"ids[]": {"one_of": [1, 2]}}, {"ids": [1, 2, 1]})
    assert not holds({"ids[]": {"one_of": [1, 2]}}, {"ids": [1, 3]})


@pytest.mark.parametrize(
    "path",
    [
        "/p/../etc",
        "/p/..",
        "/p/./a",
        "/p//a",
        "/p/%2e%2e/etc",
        "/p/a%00",
        "/p/..\\etc",
        "\\p\\a",
        "/p/..;x/etc",
        "/p/\uff0e\uff0e/etc",
        "/p/\u2025/etc",
        "/p/a\uff0f..\uff0fb",
        "/p/.\u200d./etc",
        "/p/.\ufe0f./etc",
        "/p/..\ufe0f/etc",
        "/p/..\u180b/etc",
        "/p/..\u034f/etc",
        "/p/..\u17b4/etc",
        "/p/..\u3164/etc",
        "/p/a\u2215..\u2215b",
        "/p/a ",
        "/p/a.",
        "/p/a /b",
        " /p/a",
        "/p/a\n",
        "/p/a\x00",
        "/p/u\u0308",
        "/p/a:stream",
        "/p/a?x",
        "/p/a#x",
        "/p/*",
        "/p/{a,..}/b",
        "/p/$HOME",
        "/p/PROGRA~1",
        "/p/a\u202eb",
        "/p/" + "a" * 5000,
    ],
)
def test_a_path_that_programs_could_read_differently_matches_no_pattern(path: str) -> None:
    for pattern in ("/p/**", "/**", "**", "*", "/p/*/*"):
        assert not holds({"x": {"path": pattern}}, {"x": path})
    assert is_ambiguous({"x": {"path": "/p/**"}}, {"x": path})


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/a/*", "/a/b", True),
        ("/a/*", "/a/b/c", False),
        ("/a/**", "/a/b/c", True),
        ("/a/**", "/a", False),
        ("/a/**/z", "/a/b/z", True),
        ("/a/**/z", "/a/z", False),
        ("/a/**/z", "/a/b/c/y", False),
        ("/**", "/etc", True),
        ("**", "etc/a", True),
        ("**", "/etc", False),
        ("*", "etc", True),
        ("a/b", "a/b/", True),
        ("/*-x/*.t", "/1-x/2.t", True),
        ("/*/z", "/z", False),
    ],
)
def test_a_path_glob_matches_within_segments_and_over_folders(pattern: str, path: str, matches: bool) -> None:
    assert path_matches([pattern_of(pattern)], path) is matches


_segments = st.sampled_from(["a", "b.txt", "..", ".", "", "%2e%2e", "..%2f", "%5c", "x\\..", "..;y", "~", "c:"])
_odd_segments = st.sampled_from(
    ["\uff0e\uff0e", "\u2025", "\uff0f", "\u00e4", "a\u0308", ".\u200d.", "*", "$x", "a ", " ", "\x00", "..."]
)
_paths = st.lists(_segments | _odd_segments, min_size=1, max_size=6).map("/".join) | st.text(
    "/.a\\%2e\uff0e;~", max_size=12
)
READERS: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    unquote,
    lambda path: unquote(unquote(path)),
    lambda path: path.replace("\\", "/"),
    lambda path: unicodedata.normalize("NFKC", path),
    lambda path: unicodedata.normalize("NFKC", path).replace("\\", "/"),
    lambda path: path.partition("\0")[0],
    lambda path: path.partition("?")[0].partition("#")[0],
    lambda path: path.strip(),
    lambda path: re.sub(r";[^/]*", "", path),
    lambda path: "".join(letter for letter in path if unicodedata.category(letter) != "Cf"),
    lambda path: "/".join(segment.rstrip(" .") or segment for segment in path.split("/")),
)


@given(_paths, st.sampled_from(["/p/**", "/p/*", "/**/a", "**", "*/b.txt"]))
@example("a/../../p", "/p/**")
def test_a_path_that_matches_stays_within_its_folder_for_every_reader(path: str, pattern: str) -> None:
    """The law of safety: each reader resolves the path by its own rules and ends below the folder."""
    for text in (path, f"/p/{path}", f"p/{path}"):
        if not path_matches([pattern_of(pattern)], text):
            continue
        for read in READERS:
            resolved = posixpath.normpath(read(text))
            assert not resolved.startswith(("..", "~", "//")), (text, resolved)
            if pattern.startswith("/p/"):
                assert resolved.startswith("/p/"), (text, resolved)
            assert resolved.startswith("/") == pattern.startswith("/")


_plain_names = st.sampled_from(["a", "b", "nested"])
_plain_values = st.none() | st.booleans() | st.integers(-20, 20) | st.sampled_from(["", "x", "xy", "yx", "xyx"])
_values = st.recursive(
    _plain_values,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_plain_names, inner, max_size=3),
    max_leaves=8,
)
_conditions = st.sampled_from(
    [
        {"present": True},
        {"present": False},
        {"glob": "x*"},
        {"glob": ["y*", "x"], "optional": True},
        {"one_of": ["x", 3, True]},
        {"at_least": -3, "at_most": 10},
        {"at_most": 0, "optional": True},
        {"min_length": 1, "max_length": 2},
        {"min_items": 1},
    ]
)
_fields = st.sampled_from(["a", "b", "nested.a", "nested.b", "a[]", "nested.a[].b"])


def naively(condition: dict[str, Any], value: Any, steps: list[str]) -> bool:
    """The meaning of a condition for plain arguments, in the shortest words."""
    for number, step in enumerate(steps):
        if step == "[]":
            return (
                isinstance(value, list)
                and value != []
                and all(naively(condition, item, steps[number + 1 :]) for item in value)
            )
        if not isinstance(value, dict):
            return False
        if step not in value:
            return bool(condition.get("optional", condition.get("present") is False))
        value = value[step]
    if condition.get("present") is False or value is None:
        return False
    is_number = isinstance(value, int) and not isinstance(value, bool)
    globs = [condition["glob"]] if isinstance(condition.get("glob"), str) else condition.get("glob", [])
    found = []
    if globs:
        found.append(
            isinstance(value, str) and any(re.fullmatch(glob.replace("*", ".*"), value) for glob in globs)
        )
    if "one_of" in condition:
        found.append(any(type(one) is type(value) and one == value for one in condition["one_of"]))
    if "at_least" in condition or "at_most" in condition:
        least, most = condition.get("at_least", -99), condition.get("at_most", 99)
        found.append(is_number and least <= value <= most)
    if "max_length" in condition:
        found.append(isinstance(value, str) and condition["min_length"] <= len(value) <= condition["max_length"])
    if "min_items" in condition:
        found.append(isinstance(value, list) and len(value) >= condition["min_items"])
    return all(found)


@given(st.dictionaries(_plain_names, _values, max_size=3), _fields, _conditions)
def test_for_plain_arguments_a_condition_means_what_it_says(
    arguments: dict[str, Any], field: str, condition: dict[str, Any]
) -> None:
    steps = field.replace("[]", ".[]").split(".")
    assert holds({field: condition}, arguments) == naively(condition, arguments, steps)


_twin_names = st.sampled_from(["a", "A", "a\0", "\uff41", " a", "a_", "b", "nested", "Nested", "nested.a"])
_odd = st.recursive(
    _plain_values | st.sampled_from(["x\0", "x ", "\uff58", "x\u0301"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_twin_names, inner, max_size=4),
    max_leaves=8,
)


def every_reading(value: Any) -> list[Any]:
    """`value` as lenient readers read it: names without case, up to a NUL, trimmed; the first or the last wins."""
    if isinstance(value, list):
        return [[readings[number] for readings in map(every_reading, value)] for number in range(4)]
    if isinstance(value, str):
        return [value, value.partition("\0")[0], unicodedata.normalize("NFKC", value), value.strip()]
    if not isinstance(value, dict):
        return [value] * 4
    found: list[Any] = [{name: every_reading(member)[0] for name, member in value.items()}]
    folds: list[Callable[[str], str]] = [str.casefold, partial(unicodedata.normalize, "NFKC"), str.strip]
    for number, fold in enumerate(folds, 1):
        pairs = [(fold(name.partition("\0")[0]), every_reading(member)[number]) for name, member in value.items()]
        found.append(dict(pairs if number % 2 else reversed(pairs)))
    return found


@given(st.dictionaries(_twin_names, _odd, max_size=4), st.sampled_from(["a", "b", "nested.a", "a[]"]), _conditions)
def test_a_condition_that_holds_holds_for_every_reader(
    arguments: dict[str, Any], field: str, condition: dict[str, Any]
) -> None:
    if not holds({field: condition}, arguments):
        return
    steps = field.replace("[]", ".[]").split(".")
    for reading in every_reading(arguments):
        assert naively(condition, reading, steps), reading


def test_a_value_beyond_the_bounds_of_the_work_meets_no_condition() -> None:
    many = {f"n{number}": 1 for number in range(MOST_MEMBERS)}
    assert holds({"n1": {"one_of": 1}}, many)
    assert not holds({"n1": {"one_of": 1}}, {**many, "more": 1})
    assert holds({"a[]": {"one_of": 1}}, {"a": [1] * MOST_ITEMS})
    assert not holds({"a[]": {"one_of": 1}}, {"a": [1] * (MOST_ITEMS + 1)})
    marks = "a" + "\u0301\u0316" * 20
    assert is_ambiguous({"a": {"glob": "a*"}}, {"a": marks}), "it takes quadratic time to normalize"
    assert holds({"a": {"one_of": "x"}}, {"a": "x", marks * 1000: 1})
    assert holds({"a": {"glob": "*"}}, {"a": "\ufdfa" * 200})
    assert is_ambiguous({"a": {"glob": "*"}}, {"a": "\ufdfa" * 300}), "its form NFKC has 18 times as many letters"


class CountedObject(dict[str, object]):
    """An object of arguments that counts how often all its members are looked at."""

    looks = 0

    def __iter__(self) -> Iterator[str]:
        self.looks += 1
        return super().__iter__()


def test_the_names_of_members_are_looked_at_once_for_all_conditions_of_all_ways() -> None:
    inner = CountedObject(x=1, y=2)
    arguments = CountedObject(a=1, b=2, inner=inner)
    conditions = {field: {"present": True} for field in ("a", "b", "inner.x", "inner.y")}
    ways = [{"needs": needs, "arguments": conditions} for needs in (READ, WRITE, ADMIN)]
    call = Call("tools/call", NameKind.TOOL, "t", arguments=arguments)
    assert required_for(service(tools={"t": ways}), call).choices == (((READ,), (WRITE,), (ADMIN,)),)
    assert (arguments.looks, inner.looks) == (1, 1)


def test_other_arguments_are_refused_if_the_rule_says_so() -> None:
    conditions = {"path": {"path": "/p/*"}, "options.depth": {"at_most": 3, "optional": True}}
    assert fault(conditions, {"path": "/p/a", "x": 1}) is None
    assert fault(conditions, {"path": "/p/a", "options": {}}, other_arguments=False) is None
    found = fault(conditions, {"path": "/p/a", "x": 1}, other_arguments=False)
    assert found == Unmet("arguments may have no other fields than these: path, options")
    assert fault({}, {}, other_arguments=False) is None
    assert fault({}, {"x": 1}, other_arguments=False) is not None


def test_a_fault_names_the_field_and_no_value() -> None:
    found = fault({"amount": {"at_most": 12345}, "kind": {"one_of": ["rule-value"]}}, {"amount": 777777})
    assert found == Unmet("arguments.amount must be a number within the range in the rule")
    secret = fault({"kind": {"one_of": ["rule-value"], "optional": True}}, {"kind": "caller-value"})
    assert secret is not None
    assert "value" not in secret.text.replace("values in the rule", "")


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({"x": {}}, "demands nothing"),
        ({"x": {"optional": True}}, "demands nothing"),
        ({"x": {"at_least": 2, "at_most": 1}}, "no value is at least 2 and at most 1"),
        ({"x": {"min_length": 2, "max_length": 1}}, "no value is"),
        ({"x": {"min_items": 2, "max_items": 1}}, "no value is"),
        ({"x": {"at_least": 1.2, "at_most": 1.8, "integer": True}}, "no whole number"),
        ({"x": {"at_most": 2**53}}, "read differently"),
        ({"x": {"at_most": float("inf")}}, ""),
        ({"x": {"at_most": float("nan")}}, ""),
        ({"x": {"at_most": "5"}}, ""),
        ({"x": {"at_most": True}}, ""),
        ({"x": {"min_length": -1}}, ""),
        ({"x": {"glob": []}}, ""),
        ({"x": {"glob": ""}}, ""),
        ({"x": {"glob": " a"}}, "matches no text"),
        ({"x": {"glob": "a\n*"}}, "matches no text"),
        ({"x": {"glob": "u\u0308*"}}, "matches no text"),
        ({"x": {"path": "/p/../a"}}, "matches no path"),
        ({"x": {"path": "/p//a"}}, "matches no path"),
        ({"x": {"path": "/p/"}}, "matches no path"),
        ({"x": {"path": "/p/%2e"}}, "matches no path"),
        ({"x": {"path": "C:\\p\\*"}}, "matches no path"),
        ({"x": {"path": "~/a"}}, "matches no path"),
        ({"x": {"path": "/a**"}}, "one **"),
        ({"x": {"path": "/**/a/**"}}, "one **"),
        ({"x": {"one_of": []}}, ""),
        ({"x": {"one_of": ["a"], "glob": "b*"}}, "does not meet"),
        ({"x": {"one_of": ["a", 5], "at_most": 9}}, "does not meet"),
        ({"x": {"one_of": [5], "at_most": 4}}, "does not meet"),
        ({"x": {"one_of": [True], "integer": True}}, "does not meet"),
        ({"x": {"glob": "a", "at_most": 4}}, "at once"),
        ({"x": {"min_items": 1, "max_length": 4}}, "at once"),
        ({"x": {"present": True, "glob": "a"}}, "stands alone"),
        ({"x": {"present": False, "optional": True}}, "stands alone"),
        ({"x": {"matches": "a"}}, "Extra inputs"),
        ({"x.": {"present": True}}, "is no field"),
        ({".x": {"present": True}}, "is no field"),
        ({"x[0]": {"present": True}}, "is no field"),
        ({"x y": {"present": True}}, "is no field"),
        ({"x[].y[]": {"present": True}}, "lists of lists"),
        ({"": {"present": True}}, ""),
        ({"x": {"present": False}, "x.y": {"at_most": 1}}, "must be left out"),
        ({"x": {"glob": "a"}, "x.y": {"at_most": 1}}, "has 'x.y' in it"),
        ({"x": {"min_items": 1}, "x.y": {"at_most": 1}}, "has 'x.y' in it"),
        ({"file_path": {"glob": "a"}, "filePath": {"present": False}}, "spellings of one field"),
    ],
)
def test_conditions_that_no_call_meets_are_faults_at_the_start(conditions: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        way_of(conditions)
    assert message in str(refused.value)


def service(**tables: Any) -> Service:
    permissions = PermissionSettings.model_validate(tables)
    return Service(
        "files", "Files", "https://x/files", "http://x", "mcp.files", permissions.names, rules=permissions.rules
    )


FILES = service(
    tools={
        "read": [
            {"needs": READ, "arguments": {"path": {"path": "/p/**"}}, "explanation": "Only /p is open."},
            {"needs": ADMIN},
        ],
        "re*": WRITE,
        "*_all": {"needs": ADMIN, "arguments": {"confirm": {"one_of": True}}},
        "re_*": WRITE,
    },
    prompts={"plan": {"needs": READ, "arguments": {"topic": {"max_length": 5}}}},
)
PUBLIC, PRIVATE = {"path": "/p/a"}, {"path": "/etc/a"}


def result(name: str, arguments: Any, *granted: str, scopes: tuple[str, ...] = ("mcp.files",)) -> object:
    rights = Rights(frozenset(scopes), Permissions(frozenset(granted)))
    return evaluate(FILES, rights, Call("tools/call", NameKind.TOOL, name, arguments=arguments))


def test_one_open_way_whose_permissions_the_caller_has_is_enough() -> None:
    assert result("read", PUBLIC, READ) is AccessResult.GRANTED
    assert result("read", PUBLIC, ADMIN) is AccessResult.GRANTED
    assert result("read", PRIVATE, ADMIN) is AccessResult.GRANTED
    assert result("read", {}, ADMIN) is AccessResult.GRANTED
    assert result("read", PUBLIC, WRITE) is AccessResult.FORBIDDEN


def test_a_caller_learns_what_the_arguments_must_be_only_for_ways_that_the_policy_opens() -> None:
    refused = result("read", PRIVATE, READ)
    assert isinstance(refused, UnmetArguments)
    assert refused.text == ("arguments.path must be a path that matches a pattern of the rule (Only /p is open.)")
    assert not refused.is_ambiguous
    twice = result("read", {"path": "/p/a", "Path": "/q"}, READ)
    assert isinstance(twice, UnmetArguments)
    assert twice.is_ambiguous
    assert result("read", PRIVATE, WRITE) is AccessResult.FORBIDDEN


def test_scopes_are_requested_only_if_they_would_help_with_these_arguments() -> None:
    assert result("read", PUBLIC, READ, scopes=(WRITE,)) == MissingScopes((WRITE, READ))
    assert isinstance(result("read", PRIVATE, READ, scopes=(WRITE,)), UnmetArguments)
    assert result("read", PRIVATE, READ, ADMIN, scopes=(READ,)) == MissingScopes((READ, ADMIN))


def test_overlapping_rules_count_together_with_their_conditions() -> None:
    assert result("re_all", {"confirm": True}, WRITE, ADMIN) is AccessResult.GRANTED
    assert result("re_all", {"confirm": True}, WRITE) is AccessResult.FORBIDDEN
    assert result("re_all", {"confirm": True}, ADMIN) is AccessResult.FORBIDDEN
    assert isinstance(result("re_all", {}, WRITE, ADMIN), UnmetArguments)


def test_a_list_shows_what_some_arguments_allow_and_a_call_without_read_arguments_is_refused() -> None:
    assert result("read", ANY_ARGUMENTS, READ) is AccessResult.GRANTED
    assert result("read", ANY_ARGUMENTS, WRITE) is AccessResult.FORBIDDEN
    assert result("read", None, READ) is not AccessResult.GRANTED
    completion = Call("completion/complete", NameKind.PROMPT, "plan")
    rights = Rights(frozenset({"mcp.files"}), Permissions(frozenset({READ})))
    assert evaluate(FILES, rights, completion) is not AccessResult.GRANTED
    get = Call("prompts/get", NameKind.PROMPT, "plan", arguments={"topic": "short"})
    assert evaluate(FILES, rights, get) is AccessResult.GRANTED
    assert isinstance(evaluate(FILES, rights, get._replace(arguments={"topic": "longer"})), UnmetArguments)


def test_only_rules_with_ways_make_the_check_read_arguments() -> None:
    def reads(**tables: Any) -> bool:
        rules = PermissionSettings.model_validate(tables).rules
        assert rules is not None
        return rules.reads_arguments

    assert not reads(tools={"a": READ})
    assert not reads(tools={"a": {"needs": READ}})
    assert reads(tools={"a": [{"needs": READ}, {"needs": WRITE}]})
    assert reads(prompts={"a": {"needs": READ, "other_arguments": False}})
    assert FILES.rules is not None
    assert FILES.rules.reads_arguments


@pytest.mark.parametrize("held", [(READ,), (WRITE,), (ADMIN,), (WRITE, ADMIN), ()])
def test_a_list_shows_a_tool_if_some_arguments_are_allowed(held: tuple[str, ...]) -> None:
    shown = names_shown(FILES, frozenset(held))
    assert shown(NameKind.TOOL, "read") == bool({READ, ADMIN} & set(held))
    assert shown(NameKind.TOOL, "re_all") == (held == (WRITE, ADMIN))
    assert shown(NameKind.PROMPT, "plan") == (READ in held)
    assert not shown(NameKind.TOOL, "other")


@given(
    st.sampled_from(["read", "re_all", "other"]),
    st.sampled_from([PUBLIC, PRIVATE, {}, {"confirm": True}, {"path": "/p/a", "PATH": 1}, None]),
    st.frozensets(st.sampled_from([READ, WRITE, ADMIN])),
)
def test_a_call_is_allowed_only_if_some_arguments_are(name: str, arguments: Any, granted: frozenset[str]) -> None:
    """So a list that shows what some arguments allow hides no tool that a call may use."""
    if result(name, arguments, *granted) is AccessResult.GRANTED:
        assert result(name, ANY_ARGUMENTS, *granted) is AccessResult.GRANTED
    required = required_for(FILES, Call("tools/call", NameKind.TOOL, name, arguments=arguments))
    if not required.permissions and not required.choices:
        assert result(name, arguments, *granted) is not AccessResult.GRANTED


def test_an_unreadable_call_stays_a_fault_with_argument_rules() -> None:
    rights = Rights(frozenset({"mcp.files"}), Permissions(frozenset({"*"})))
    assert evaluate(FILES, rights, CallFault.AMBIGUOUS_ARGUMENTS) is CallFault.AMBIGUOUS_ARGUMENTS
    bare = replace(FILES, rules=replace(FILES.rules or ToolRules(), otherwise=(READ,)))
    assert evaluate(bare, rights, None) is CallFault.MISSING
