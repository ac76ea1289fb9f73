"""Resource rules hold in every spelling of a URI: one canonical form, or none and the request is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AnyUrl, ValidationError

from oauth_core.mcp_request import Call, NameKind
from oauth_core.model import NameRule, Service, ToolRules
from oauth_core.resource_uris import canonical, canonical_pattern, other_forms
from oauth_core.tool_rules import NOBODY, need_of

READ, SECRET = "mcp.files.read", "mcp.files.secret"
FILES = Service(
    "files", "Files", "https://mcp.example/f", "http://127.0.0.1:1", "mcp.files", (READ, SECRET), ToolRules()
)


def needs(uri: str, **resources: str) -> tuple[str, ...] | None:
    """What reading `uri` needs under rules for these patterns; `None` when it is refused whatever one has."""
    rules = tuple(NameRule(canonical_pattern(pattern), (need,)) for pattern, need in resources.items())
    service = replace(FILES, rules=ToolRules(resources=rules))
    need = need_of(service, Call("resources/read", NameKind.RESOURCE, uri))
    return None if need == NOBODY else need.permissions


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
    assert found is None or SECRET in found, f"{uri} is read as public"


@pytest.mark.parametrize(
    "uri", ["file:///public/a?/../../private/a", "file:///public/..", "file:///public/a/..;/..;/private", "file:x"]
)
def test_a_rule_that_opens_a_folder_opens_nothing_beside_it(uri: str) -> None:
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
def test_what_parsers_fold_into_a_guarded_uri_is_guarded_or_refused(pattern: str, uri: str) -> None:
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
        ("urn:isbn:1", "urn:isbn:1"),
    ],
)
def test_what_honest_clients_ask_for_has_a_form(uri: str, form: str) -> None:
    assert canonical(uri) == form


@pytest.mark.parametrize(
    "uri", ["file:///a%E2%80%8Bb", "file:///a%C2%85", "file:///a%FF", "file:///a%C0%AE", "file:///a%ED%A0%80"]
)
def test_escapes_that_are_no_plain_text_are_refused(uri: str) -> None:
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
        ("*/secret", "*/secret"),
    ],
)
def test_a_pattern_is_brought_into_the_same_form(pattern: str, form: str) -> None:
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
        "file:///%61*",
        "file:///%2A",
        "file:///a{}",
        "file:///a\\b",
        "private",
    ],
)
def test_a_pattern_that_could_match_nothing_is_a_fault(pattern: str) -> None:
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
def test_what_the_url_standard_folds_together_has_one_form_or_none(uri: str) -> None:
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


@given(_uris)
def test_a_form_is_bound_to_what_it_came_from(uri: str) -> None:
    form = canonical(uri)
    if form is not None:
        assert form not in other_forms(form)
        assert form.partition(":")[0] == uri.partition(":")[0]
