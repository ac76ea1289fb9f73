"""Resource rules hold for every spelling of a URI: it has one canonical form, or the request is refused."""

from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import AnyUrl, ValidationError

from oauth_core.model import NameRule, Service, ToolRules
from oauth_core.policy.globs import glob_matches, is_within
from oauth_core.policy.mcp_request import Call, NameKind
from oauth_core.policy.resource_uris import canonical, canonical_pattern, may_match_a_form_of, other_forms
from oauth_core.policy.tool_rules import NEVER_ALLOWED, required_for

READ, SECRET = "mcp.files.read", "mcp.files.secret"
FILES = Service(
    "files", "Files", "https://mcp.example/f", "http://127.0.0.1:1", "mcp.files", (READ, SECRET), ToolRules()
)


def needs(uri: str, **resources: str) -> tuple[str, ...] | None:
    """The permissions that reading `uri` needs under these rules; `None` if it is always refused."""
    rules = tuple(NameRule(canonical_pattern(pattern), (need,)) for pattern, need in resources.items())
    service = replace(FILES, rules=ToolRules(resources=rules))
    need = required_for(service, Call("resources/read", NameKind.RESOURCE, uri))
    return None if need == NEVER_ALLOWED else need.permissions


@pytest.mark.parametrize(
    "uri",
    [
        "file:///private/a",
        "file:/private/a",
        "file:private/a",
        "file://localhost/private/a",
        "file://LOCALHOST/private/a",
        "file://127.0.0.1/private/a",
        "file://other/private/a",
        "file://localhost:80/private/a",
        "file://@/private/a",
        "file:////private/a",
        "file://///private/a",
        "FILE:///private/a",
        "file:\\\\\\private\\a",
        "file:///public/../private/a",
        "file:///public/%2e%2e/private/a",
        "file:///public/..;x/private/a",
        "file:///public/a?/../../private/a",
        "file:///public/a#/../../private/a",
        "file:///%70rivate/a",
        "file:///private%2Fa",
        "file:///./private/a",
        "file:///private//a",
        "file:///private/a?x=1",
        "file:///private/a#x",
        "file:///private/",
        "file:///private",
        " file:///private/a",
        "file:///private/a\t",
        "file:///priv\tate/a",
    ],
)
def test_no_spelling_of_a_guarded_file_needs_less(uri: str) -> None:
    found = needs(uri, **{"*": READ, "file:///private/*": SECRET})
    assert found is None or SECRET in found, f"{uri} is treated as public"


@pytest.mark.parametrize(
    "uri", ["file:///public/a?/../../private/a", "file:///public/..", "file:///public/a/..;/..;/private", "file:x"]
)
def test_a_rule_that_allows_a_folder_allows_nothing_beside_it(uri: str) -> None:
    assert needs(uri, **{"file:///public/*": READ}) is None


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("https://example.com/a*", "https:/example.com/a"),
        ("https://example.com/a*", "https:example.com/a"),
        ("https://example.com/a*", "https:///example.com/a"),
        ("https://example.com/a*", "https://example.com:443/a"),
        ("https://example.com/a*", "https://example.com:0443/a"),
        ("https://example.com/a*", "https://example.com./a"),
        ("https://example.com/a*", "https://u@example.com/a"),
        ("https://example.com/a*", "https://ex%61mple.com/a"),
        ("https://example.com/*", "https://example.com"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com/", "https://example.com?"),
        ("http://127.0.0.1/*", "http://0x7f.1/a"),
        ("http://127.0.0.1/*", "http://2130706433/a"),
        ("http://127.0.0.1/*", "http://127.1/a"),
        ("http://[::1]/*", "http://[0:0::1]/a"),
        ("http://[::1]/*", "http://[::0001]/a"),
        ("note:///private/*", "note:/private/a"),
        ("note:///private/*", "note:private/a"),
        ("note:/private/*", "note:///private/a"),
        ("note://private/*", "note:private/a"),
        ("note://a@b/*", "note://a%40b/x"),
        ("note://a{b}/*", "note://a%7Bb%7D/x"),
        ("note://x y/*", "note://x%20y/x"),
        ("note://café/*", "note://cafe%CC%81/x"),
        ("note://café/*", "note://caf%C3%A9/x"),
        ("file:///C:/secret/*", "file:///c:/secret/a"),
        ("file:///C:/secret/*", "file:///c%3A/secret/a"),
        ("file:///C:/secret/*", "file:///C|/secret/a"),
        ("db://t/secret", "db://t/secret?"),
        ("db://t/secret", "db://t/secret#x"),
        ("db://t/secret", "db://t/secret/"),
    ],
)
def test_a_uri_that_parsers_normalise_to_a_guarded_one_is_guarded_or_refused(pattern: str, uri: str) -> None:
    found = needs(uri, **{"*": READ, pattern: SECRET})
    assert found is None or SECRET in found


@pytest.mark.parametrize(
    ("uri", "form"),
    [
        ("file:/a/b.txt", "file:///a/b.txt"),
        ("file://localhost/a", "file:///a"),
        ("file:///c:/Users/x%20y", "file:///C:/Users/x y"),
        ("https://example.com?q=../x", "https://example.com/?q=../x"),
        ("https://example.com:8443/a%3Db", "https://example.com:8443/a=b"),
        ("postgres://me@host/db/schema", "postgres://me@host/db/schema"),
        (
            "note://%DA%A9%D8%AA%D8%A7%D8%A8%E2%80%8C%D9%87%D8%A7",
            "note://\u06a9\u062a\u0627\u0628\u200c\u0647\u0627",
        ),
        ("file:///{path}", "file:///{path}"),
        ("https://{host}/x", "https://{host}/x"),
        ("https://{hostName}/x", "https://{hostName}/x"),
        ("user://{userId}/profile", "user://{userId}/profile"),
        ("db://{tableName}", "db://{tableName}"),
        ("urn:isbn:1", "urn:isbn:1"),
        ("file:///My%20Documents/a", "file:///My Documents/a"),
        ("file:///My Documents/a", "file:///My Documents/a"),
        ("notes://ü", "notes://ü"),
        ("notes://%c3%bc", "notes://ü"),
        ("notes://ملاحظات/\u06f1", "notes://ملاحظات/\u06f1"),
        ("note:///C%23/a", "note:///C%23/a"),
        ("note:///C#/a", "note:///C#/a"),
        ("note:///what%3f", "note:///what%3F"),
        ("note:///what\uff1f", "note:///what\uff1f"),
        ("note:///100%25", "note:///100%25"),
        ("note:///100%25 sure", "note:///100%25 sure"),
        ("note:///%41%7E", "note:///A~"),
        ("note:///a%3Bb;c", "note:///a%3Bb;c"),
        ("db://t?a=1%262&b=x%2By", "db://t?a=1%262&b=x%2By"),
        ("note:///\U0001f468\u200d\U0001f469", "note:///\U0001f468\u200d\U0001f469"),
        ("note:///\U0001fae9", "note:///\U0001fae9"),
    ],
)
def test_uris_of_real_clients_have_a_canonical_form(uri: str, form: str) -> None:
    assert canonical(uri) == form


@pytest.mark.parametrize(
    "uri",
    [
        *("file:///a%E2%80%8Bb", "file:///a\u200bb", "file:///a%E2%80%AEb", "file:///a\u202eb"),
        *("file:///a%C2%85", "file:///a%FF", "file:///a%C0%AE", "file:///a%ED%A0%80", "file:///a\ud800"),
        *(
            "file:///a%00",
            "file:///a%0A",
            "file:///a\nb",
            "file:///a\tb",
            "file:///a ",
            " file:///a",
            "file:///a\u00a0",
        ),
        *("file:///a%2Fb", "file:///a%2fb", "file:///a%5Cb", "file:///a\\b"),
        *("file:///a%252Fb", "file:///a%252fb", "file:///%2541", "file:///a%25%32%46b", "file:///a%25u002fb"),
        *("file:///100%", "file:///a%2", "file:///a%zz", "file:///a%u0041"),
        *("file:///%2E%2e/a", "file:///.%2e/a", "file:///.. /a", "file:///..%20/a", "file:///..%3Bx/a"),
        *("file:///a/..%3F", "file:///a/..%23b", "note:a/..%3Fb", "https://h/a/.%2e%3F"),
        *(
            "file:///a%3F/../b",
            "file:///a%23/../b",
            "file:///\uff0e\uff0e/a",
            "file:///a\uff0fb",
            "file:///\u2025/a",
        ),
        *("note://a%2Fb", "note://a\uff0fb/c", "note://Abc/d", "note://%41bc/d", "note://\u212a/d"),
        *("https://ex%61mple.com/", "https://b\u00fccher.example/", "https://a b/", "https://a%3A8443/"),
        "file:///c%7C/a",
    ],
)
def test_an_ambiguous_uri_or_one_with_invisible_text_is_refused(uri: str) -> None:
    assert canonical(uri) is None


@pytest.mark.parametrize(
    ("pattern", "form"),
    [
        ("*", "*"),
        ("file:*", "file:*"),
        ("file:/private/*", "file:///private/*"),
        ("file://localhost/a*b", "file:///a*b"),
        ("https://*.example.com/*", "https://*.example.com/*"),
        ("https://x*", "https://x*"),
        ("https://example.com", "https://example.com/"),
        ("note://é/*", "note://é/*"),
        ("note://%C3%A9/*", "note://é/*"),
        ("file:///%61*", "file:///a*"),
        ("file:///a b*", "file:///a b*"),
        ("file:///a%20b*", "file:///a b*"),
        ("file:///a%23b/*", "file:///a%23b/*"),
        ("*/secret", "*/secret"),
        ("*:*", "*:*"),
        ("*.key", "*.key"),
        ("*://example.com/*", "*://example.com/*"),
        ("file:///*", "file:///*"),
        ("file:///*/key", "file:///*/key"),
        ("https:*", "https:*"),
        ("https://*", "https://*"),
        ("https://*:8443/*", "https://*:8443/*"),
        ("https://*:*/a", "https://*:*/a"),
        ("https://*/admin/*", "https://*/admin/*"),
        ("note://*secret", "note://*secret"),
        ("note:*", "note:*"),
        ("note://*@private/*", "note://*@private/*"),
        ("user://{userId}/profile", "user://{userId}/profile"),
    ],
)
def test_a_pattern_gets_the_same_canonical_form(pattern: str, form: str) -> None:
    assert canonical_pattern(pattern) == form


@pytest.mark.parametrize(
    "pattern",
    [
        "FILE:///a/*",
        "file://host/a/*",
        "file:a/*",
        "https:example.com/*",
        "https://example.com:443/*",
        "https://Example.com/*",
        "file:///a/../b/*",
        "file:///a//b/*",
        "file:///a%2Fb*",
        "file:///a%252Fb*",
        "file:///%2A",
        "file:///a{}",
        "file:///a\\b",
        "private",
        "https://*.Example.com/private/*",
        "https://*:443/private/*",
        "https://*/a/../b",
        "https://*/a//b",
        "https://*@x/*",
        "https://*.",
        "note://*/..",
        "*://*.Example.com/*",
        "*/../a",
    ],
)
def test_a_pattern_that_matches_no_uri_is_a_fault(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"matches no URI|no rule can name"):
        canonical_pattern(pattern)


_starts = st.sampled_from(
    ["file:", "file:/", "file://", "file:///", "file://localhost/", "https://", "https://example.com", "https:"]
)
_other_starts = st.sampled_from(
    ["note:", "note:/", "note://", "note:///", "http://127.0.0.1", "http://[::1]", "file:///c:/"]
)
_pieces = st.sampled_from(
    [
        *"?#@|;A^'<",
        "/",
        "//",
        "private",
        "a",
        "..",
        ".",
        "%41",
        "%40",
        "%2E",
        "%2F",
        ":443",
        ":80",
        "\\",
        "c:",
        "{x}",
    ]
)
_words = st.sampled_from(["%C3%A9", "%7B", "é", "example.com", "\t", "localhost"])
_uris = st.builds(
    lambda start, rest: start + "".join(rest), _starts | _other_starts, st.lists(_pieces | _words, max_size=6)
)


@given(_uris)
def test_a_uri_and_its_url_standard_form_have_the_same_canonical_form_or_none(uri: str) -> None:
    """Pydantic's `AnyUrl`, which MCP servers in Python read URIs with, follows the WHATWG standard."""
    form = canonical(uri)
    if form is None:
        return
    try:
        folded = str(AnyUrl(uri))
    except ValidationError:
        return
    again = canonical(folded)
    assert again is not None
    assert again == form or again in other_forms(form)


_characters = st.lists(
    st.sampled_from([*"aZ09-._~ /@:,!$'()*\"<>^`|{}[]%?#", "é", "ß", "ü", "\u200c", "\U0001f642", "\u3042", "中"]),
    max_size=8,
)
_must_be_escaped = frozenset("%?#")


def spelled(characters: list[str], choices: list[int]) -> str:
    """`characters` below `note:///x/`, each unescaped or escaped in one of the ways that programs use."""
    ways = (str, quote_all, lambda text: quote_all(text).lower())
    written = [
        char if char == "/" else ways[choice or (char in _must_be_escaped)](char)
        for char, choice in zip(characters, choices, strict=False)
    ]
    return "note:///x/" + "".join(written) + "y"


def quote_all(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


_choices = st.lists(st.integers(0, 2), min_size=8, max_size=8)


@given(_characters, _choices, _choices)
def test_escaped_and_unescaped_names_have_the_same_form(
    characters: list[str], first: list[int], second: list[int]
) -> None:
    """Python's `urllib` and every reader that splits first and then decodes treat the two as one resource."""
    one, other = spelled(characters, first), spelled(characters, second)
    assert unquote(urlsplit(one).path) == unquote(urlsplit(other).path)
    assert canonical(one) == canonical(other)


@given(_characters, _choices)
def test_a_name_has_a_form_unless_it_is_a_dot_segment_or_escaped_twice(
    characters: list[str], choices: list[int]
) -> None:
    text = "".join(characters)
    names = f"x/{text}y".split("/")
    hides = any(not name or re.fullmatch(r"\s*\.\.?\s*([;?#].*)?", name, re.DOTALL) for name in names)
    is_twice = re.search("%[0-9A-Fa-f]{2}", f"{text}y") is not None
    assert (canonical(spelled(characters, choices)) is None) == (hides or is_twice)


@given(_uris, st.lists(st.integers(0, 2), min_size=80, max_size=80))
def test_no_escape_makes_a_guarded_uri_need_less(uri: str, choices: list[int]) -> None:
    rules = {"*": SECRET, "file:///a*": READ, "note:///a*": READ, "https://example.com/a*": READ, "note:a*": READ}
    plain = needs(uri, **rules)
    start, colon, rest = uri.partition(":")
    ways = (str, quote_all, lambda text: quote_all(text).lower())
    escaped = start + colon + "".join(ways[choice](char) for char, choice in zip(rest, choices, strict=False))
    found = needs(escaped, **rules)
    assert found is None or plain is None or SECRET in found or SECRET not in plain


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("note:///C%23/*", "note:///C#/a"),
        ("note:///C#/*", "note:///C%23/a"),
        ("note:///C", "note:///C#/a"),
        ("note:///a?b", "note:///a%3Fb"),
        ("note:///a%3Fb", "note:///a?b"),
        ("note:///a;b", "note:///a%3Bb"),
        ("note:///a%3Bb", "note:///a;b"),
        ("note:///a", "note:///a;b"),
        ("note:///a/*", "note:///a;b/c"),
        ("note:///a/b", "note:///a%3Bx/b;y?z"),
        ("db://t?a=x y", "db://t?a=x+y"),
        ("db://t?a=x+y", "db://t?a=x%20y"),
        ("db://t?a=1&b=2", "db://t?a=1%26b=2"),
        ("notes://ü/*", "notes://Ü/a"),
        ("notes://ü/*", "notes://%C3%9C/a"),
    ],
)
def test_a_uri_that_some_program_reads_as_a_guarded_one_needs_its_permission(pattern: str, uri: str) -> None:
    found = needs(uri, **{"*": READ, pattern: SECRET})
    assert found is not None
    assert SECRET in found


_TAILS = ("", "?", "#", "/", "?x", "#x", ";x", "%3Fx", "%23x", "%3bx", "?v=1", "/?x", "/#")


@pytest.mark.parametrize("tail", _TAILS)
@pytest.mark.parametrize(
    ("opens", "guards", "uri"),
    [
        ("file:///public/*", "*.key", "file:///public/a.key"),
        ("file:///public/*", "file:///*/key", "file:///public/key"),
        ("note://public/*", "note://*/secret", "note://public/secret"),
        ("note:public/notes/*", "note://*secret", "note:public/notes/secret"),
        ("https://docs.example.com/*", "https://*/admin/config", "https://docs.example.com/admin/config"),
    ],
)
def test_an_overlapping_rule_counts_in_every_spelling(opens: str, guards: str, uri: str, tail: str) -> None:
    found = needs(f"{uri}{tail}", **{opens: READ, guards: SECRET})
    assert found is None or SECRET in found


@pytest.mark.parametrize(
    ("pattern", "uri"),
    [
        ("note:///a?b", "note:///a%3Fb"),
        ("note:///a%3Fb", "note:///a?b"),
        ("note:///C#", "note:///C%23"),
        ("db://t?a=1&b=2", "db://t?a=1%26b=2"),
    ],
)
def test_a_rule_that_allows_one_uri_does_not_allow_a_similar_one(pattern: str, uri: str) -> None:
    assert SECRET in (needs(uri, **{"*": SECRET, pattern: READ}) or ())


@given(_uris)
def test_a_canonical_form_keeps_the_scheme_and_is_no_alternative_of_itself(uri: str) -> None:
    form = canonical(uri)
    if form is not None:
        assert form not in other_forms(form)
        assert form.partition(":")[0] == uri.partition(":")[0]


@pytest.mark.parametrize(
    "uri",
    [
        *("note://public@private/a", "note://private:80/a", "note://private./a", "note://private.:80/a"),
        *("note://u:p@private/a", "note://u:p@private.:80/a", "note://private:x/a", "note://u%40private/a"),
        *("note://private%3A80/a", "note://private../a", "note://u@private/a?x", "note://private:80/a#x"),
        *(
            "note://private/a",
            "note:private/a",
            "note://a@b@private/a",
            "note://private@b@c/a",
            "note://@private/a",
        ),
    ],
)
@pytest.mark.parametrize(
    "rules", [{"*": READ}, {"note://public*": READ, "note://private*": READ, "note://u*": READ}]
)
def test_a_user_a_port_or_a_dot_does_not_take_a_uri_out_of_its_rule(uri: str, rules: dict[str, str]) -> None:
    found = needs(uri, **rules, **{"note://private/*": SECRET})
    assert found is None or SECRET in found


def test_a_glob_for_many_hosts_allows_none_that_has_a_stronger_rule() -> None:
    for uri in ("note://public-and-much-longer@private/a", "note://public-and-much-longer.@private:1/a"):
        rules = {"*": READ, "note://public-and-much-longer*": READ, "note://private/*": SECRET}
        assert SECRET in (needs(uri, **rules) or ())
        assert SECRET in (needs(uri, **{"note://public*": READ, "*": SECRET}) or ())
        assert needs(uri, **{"note://public*": READ}) is None, "no rule allows the other host"


def test_a_rule_with_a_port_or_a_user_also_guards_the_host_without_it() -> None:
    for pattern in ("note://private:80/*", "note://me@private/*", "note://private./*"):
        for uri in ("note://private/a", "note://you@private:81/a", "note://private.:1/a"):
            assert SECRET in (needs(uri, **{"*": READ, pattern: SECRET}) or ())


def test_a_rule_with_the_complete_host_is_not_overridden_by_wider_ones() -> None:
    rules = {"*": SECRET, "db://me@host/*": READ, "db://*@other/*": READ, "db://host:5432/*": READ}
    for uri in ("db://me@host/x", "db://anybody@other/x", "db://host:5432/x"):
        assert needs(uri, **rules) == (READ,)
    assert SECRET in (needs("db://you@host/x", **rules) or ())
    assert needs("db://me@host/x", **{"db://me@host/*": READ, "db://host/*": SECRET}) == (READ, SECRET)


_hosts = st.sampled_from(["a", "b", "ab", "[::1]"])
_users = st.sampled_from(["", "", "a@", "b@", "a:b@", "x@", "ab:@"])
_ends = st.sampled_from(["", "", ":80", ":1", ".", ".:80", ":b", ".."])
_authorities = st.builds("{}{}{}".format, _users, _hosts, _ends)
_globs = st.sampled_from(
    ["a", "ab", "b", "a*", "*b", "*", "a@*", "*@b", "b:*", "*.", "x@*", "a@b", "b:80", "[::1]"]
)
_tables = st.dictionaries(
    st.builds("note://{}{}".format, _globs, st.sampled_from(["/*", "/x", "*"])) | st.sampled_from(["*", "note:*"]),
    st.sampled_from(["mcp.files.p0", "mcp.files.p1", "mcp.files.p2", "mcp.files.p3"]),
    min_size=1,
    max_size=5,
)


def hosts_of(authority: str) -> set[str]:
    """The hosts that a server may read if it ignores the user, the password, the port or the dot."""
    user, at, place = authority.rpartition("@")
    host = place if place.startswith("[") and place.endswith("]") else re.sub(r"(?<=[\]a-z.]):.*", "", place)
    bare = host.rstrip(".")
    return {
        f"{who}{where}"
        for who in (f"{user}{at}", f"{user.partition(':')[0]}{at}", "")
        for where in (place, host, bare, place.replace(host, bare, 1))
    }


@given(_tables, _authorities)
def test_every_spelling_of_a_host_needs_the_permissions_of_every_reading(
    table: dict[str, str], authority: str
) -> None:
    found = needs(f"note://{authority}/x", **table)
    named = {re.split("[/?#]", rule.removeprefix("note://"))[0].rpartition("@")[2] for rule in table}
    if found is None or authority.rpartition("@")[2] in named:
        return  # the test above is about rules with the complete host
    for host in hosts_of(authority):
        reading = needs(f"note://{host}/x", **table)
        assert reading is not None, host
        assert set(reading) <= set(found), host


_PATHS = ("a", "b", "a/b", "ab", "a/*", "*/b", "*b", "a*", "*", "a/*b", "*.k", "a.k")
_overlaps = st.dictionaries(
    st.builds(
        "{}{}".format, st.sampled_from(["file:///", "note://", "note:", "https://h/"]), st.sampled_from(_PATHS)
    )
    | st.sampled_from(["*", "*b", "*.k", "note:*"]),
    st.sampled_from(["mcp.files.p0", "mcp.files.p1", "mcp.files.p2", "mcp.files.p3"]),
    min_size=1,
    max_size=5,
)
_spelled = st.builds(
    "{}{}{}".format,
    st.sampled_from(["file:///", "note://", "note:", "note:///", "https://h/"]),
    st.sampled_from(["a", "b", "a/b", "ab", "a.k", "a/a.k", "a/bb"]),
    st.sampled_from(_TAILS),
)


@given(_overlaps, _spelled)
@example({"note://a/*": "mcp.files.p0", "note://*.k": "mcp.files.p1"}, "note:///a/a.k?")
def test_every_form_of_a_uri_needs_all_rules_that_no_more_exact_one_replaces(
    table: dict[str, str], uri: str
) -> None:
    form, found = canonical(uri), needs(uri, **table)
    if form is None or found is None:
        return
    rules = {canonical_pattern(pattern): need for pattern, need in table.items()}
    for other in (form, *other_forms(form)):
        matching = [rule for rule in rules if glob_matches(rule, other)]
        for rule in matching:
            replaced_by = [other for other in rules if is_within(other, rule)]
            if not any(glob_matches(narrow, text) for narrow in replaced_by for text in (form, other)):
                assert rules[rule] in found, (rule, other)


_patterns = st.builds("{}{}".format, _uris, st.sampled_from(["", "*", "/*", "*x"])) | _uris.map(
    lambda uri: uri[:9] + "*"
)


@given(
    _uris | st.builds("note://{}/{}".format, _authorities, st.text(alphabet="aé/%?#;+ 23BF", max_size=8)),
    _patterns,
)
@example("note://a/Bé", "note:a/bé")
def test_the_prefilter_keeps_every_rule_that_matches_a_form(uri: str, pattern: str) -> None:
    form = canonical(uri)
    for text in () if form is None else (form, *other_forms(form)):
        for rule in (pattern, text, f"{text[:-1]}*", f"{text[:7]}*", f"{text.rstrip('/')}*"):
            if glob_matches(rule, text):
                assert may_match_a_form_of(rule, str(form)), (rule, text)
