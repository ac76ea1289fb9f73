"""Lookup of a service by its resource identifier, and by host and path."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.model import Service
from oauth_core.policy.permissions import in_words
from oauth_core.policy.resources import ServiceIndex, ServiceRights, metadata_url
from tests.unit.examples import BARE, NOTES, SERVICES, TIME

HOST = "mcp.example.com"


def test_a_service_is_found_by_its_exact_identifier() -> None:
    assert SERVICES.by_resource(TIME.resource) is TIME
    assert SERVICES.by_resource(BARE.resource) is BARE


@pytest.mark.requirement("mcp:trailing-slash")
def test_a_trailing_slash_on_a_bare_origin_is_ignored() -> None:
    assert SERVICES.by_resource(f"{BARE.resource}/") is BARE


@pytest.mark.requirement("rfc8707:absolute", "rfc8707:query")
@pytest.mark.parametrize(
    "resource",
    [
        "",
        "/",
        "time",
        f"{TIME.resource}//",
        f"{BARE.resource}//",
        f"{BARE.resource}/?",
        f"{BARE.resource}/#",
        "https://MCP.example.com/time",
        "https://mcp.example.com:443/time",
        "https://mcp.example.com/Time",
        "https://mcp.example.com",
        "http://mcp.example.com/time",
        "http://[/",
        "https://\u2100.example/",
        "\x00",
    ],
)
def test_any_other_spelling_is_unknown(resource: str) -> None:
    assert SERVICES.by_resource(resource) is None


@given(st.text().flatmap(lambda text: st.sampled_from([text, f"{text}/", f"http://{text}/", f"https://[{text}/"])))
def test_looking_up_any_resource_never_raises(resource: str) -> None:
    found = SERVICES.by_resource(resource)
    assert found is None or resource.removesuffix("/") == found.resource


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/time", TIME),
        ("/time/", TIME),
        ("/time/more", TIME),
        ("/time/..more", TIME),
        ("/notes", NOTES),
        ("/timeline", None),
        ("/tim", None),
        ("/Time", None),
        ("/", None),
        ("", None),
        ("*", None),
        ("https://mcp.example.com/time", None),
    ],
)
def test_a_path_belongs_to_the_service_whose_path_it_continues(path: str, service: Service | None) -> None:
    assert SERVICES.by_request(HOST, path) is service


def test_a_trailing_slash_names_the_same_service() -> None:
    assert SERVICES.by_resource(f"{TIME.resource}/") is TIME
    assert SERVICES.by_request(HOST, "/time/") is TIME


def test_without_subpaths_only_the_exact_path_exists_and_no_other_service_serves_below_it() -> None:
    outer = replace(TIME, name="outer", resource="https://mcp.example.com/a")
    inner = replace(TIME, name="inner", resource="https://mcp.example.com/a/b", subpaths=False)
    index = ServiceIndex([outer, inner])
    assert index.by_request(HOST, "/a/b") is inner
    assert index.by_request(HOST, "/a/b/") is inner
    assert index.by_request(HOST, "/a/b/c") is None
    assert index.by_request(HOST, "/a/c") is outer


@pytest.mark.parametrize("host", ["mcp.example.com", "MCP.Example.Com", "mcp.example.com:443"])
def test_a_host_may_be_in_capitals_or_have_its_default_port(host: str) -> None:
    assert SERVICES.by_request(host, "/time") is TIME


@pytest.mark.parametrize(
    "host",
    [
        "",
        "example.com",
        "evil.example",
        "mcp.example.com.",
        "mcp.example.com:80",
        "mcp.example.com:8443",
        " mcp.example.com",
        "mcp.example.com@evil.example",
        "mcp.example.com, evil.example",
        "bare.example.com:",
    ],
)
def test_an_unknown_host_has_no_service(host: str) -> None:
    assert SERVICES.by_request(host, "/time") is None


def test_a_letter_with_an_ascii_lower_case_form_does_not_match() -> None:
    kilo = ServiceIndex([Service("k", "K", "https://kilo.example/mcp", "http://127.0.0.1:1", "mcp.k")])
    assert kilo.by_request("KILO.example", "/mcp") is not None
    assert kilo.by_request("\u212ailo.example", "/mcp") is None


def test_the_longest_path_wins() -> None:
    inner = Service("inner", "Inner", f"{TIME.resource}/inner", "http://127.0.0.1:1", "mcp.inner")
    for services in ([TIME, inner], [inner, TIME]):
        index = ServiceIndex(services)
        assert index.by_request(HOST, "/time/inner/x") is inner
        assert index.by_request(HOST, "/time/innermost") is TIME


def test_a_service_on_another_port_is_found_only_there() -> None:
    index = ServiceIndex([Service("p", "P", "http://localhost:8080/p", "http://127.0.0.1:1", "mcp.p")])
    assert index.by_request("localhost:8080", "/p") is not None
    assert index.by_request("localhost", "/p") is None
    assert index.by_request("localhost:80", "/p") is None


@pytest.mark.parametrize(
    "path",
    [
        "/time/../notes",
        "/time/./x",
        "/time/..",
        "/time/.",
        "/time//x",
        "//time",
        "/time/%2e%2e/notes",
        "/time/%2E%2E/notes",
        "/time/.%2e/notes",
        "/time/..%2fnotes",
        "/time/%2Fnotes",
        "/time/..\\notes",
        "/time/..%5cnotes",
        "/time/..;/notes",
        "/time;x=1/notes",
        "/time/%252e%252e/notes",
        "/time/%25",
        "/time/%00",
        "/time/%0d%0aX-User-Id:%201",
        "/time/%09",
        "/time/%7f",
        "/time/%c0%ae%c0%ae/notes",
        "/time/%c1%9cnotes",
        "/time/\uff0e\uff0e/notes",
        "/time/\u2215notes",
        "/time/\x00",
        "/time/ x",
        "/time/\tx",
        "/time/x\n",
        "/time/?/../notes",
        "/time/x?y",
        "/time/x#y",
        "/time/x\\y",
        "/time/#/../notes",
    ],
)
def test_an_ambiguous_path_has_no_service(path: str) -> None:
    assert SERVICES.by_request(HOST, path) is None
    assert SERVICES.by_request("bare.example.com", path) is None


def places(path: str) -> set[str | None]:
    """The first segment in each of the ways in which proxies and services read `path`: one name, if all agree."""
    readings = {
        path,
        path.replace("\\", "/"),
        path.partition(";")[0],
        path.split("?", maxsplit=1)[0],
        path.split("#", maxsplit=1)[0],
    }
    for _ in range(2):
        readings |= {unquote(reading) for reading in readings}
        readings |= {unquote(reading).replace("\\", "/") for reading in readings}
    found: set[str | None] = set()
    for reading in readings:
        segments: list[str] = []
        for segment in reading.split("/"):
            if segment == "..":
                del segments[-1:]
            elif segment not in {"", "."}:
                segments.append(segment)
        found.add(segments[0] if segments else None)
    return found


PLAIN = ("/", "//", "/../", "/time", "/notes", "time", "notes", "x", ".", "..", ";", "?", "#", "%", "\\", "\n")
ESCAPED = ("%2e", "%2E", "2e", "%2f", "%2F", "%5c", "%25", "%20", "%c3%a9", "\u2215")
PATH_PIECES = st.sampled_from((*PLAIN, *ESCAPED))


@given(st.lists(PATH_PIECES, max_size=8).map(lambda pieces: "/time" + "".join(pieces)))
@example("/time/%252e%252e/notes")
def test_a_path_of_a_service_means_that_service_in_every_reading(path: str) -> None:
    found = SERVICES.by_request(HOST, path)
    assert found is None or places(path) == {found.name}


@given(st.text(), st.text())
def test_looking_up_any_request_never_raises(host: str, path: str) -> None:
    assert SERVICES.by_request(host, path) is None or path.startswith("/")


def test_services_are_found_by_their_scopes() -> None:
    assert SERVICES.reached_by(["mcp.notes", "mcp.time", "other"]) == (TIME, NOTES)
    assert SERVICES.reached_by([]) == ()


def test_a_service_is_found_by_its_name() -> None:
    assert SERVICES.by_name("time") is TIME
    assert SERVICES.by_name("Time") is None


@pytest.mark.requirement("mcp:metadata-discovery", "rfc9728:location")
def test_the_metadata_url_has_the_well_known_part_before_the_path() -> None:
    assert metadata_url(TIME.resource) == "https://mcp.example.com/.well-known/oauth-protected-resource/time"
    assert metadata_url(BARE.resource) == "https://bare.example.com/.well-known/oauth-protected-resource"


# -- for people --------------------------------------------------------------------------------------------------

FILES = Service(
    "files", "Files", "https://mcp.example.com/files", "http://127.0.0.1:1", "mcp.files",
    named_permissions=("mcp.files.read", "mcp.files.write", "shared.admin"),
    permission_titles=(("mcp.files.write", "Change and delete files"),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("scopes", "told"),
    [
        (("mcp.files.read",), ("read",)),
        (("mcp.files.write",), ("Change and delete files",)),
        # A permission is shown as all permissions that it implies, and nothing else.
        (("mcp.files",), ("read", "Change and delete files")),
        (("shared.admin", "mcp.files.read"), ("read", "shared admin")),
    ],
)
def test_each_permission_of_the_scopes_is_shown_in_words(scopes: tuple[str, ...], told: tuple[str, ...]) -> None:
    index = ServiceIndex([FILES, TIME])
    assert index.rights_in_words([*scopes, "unknown"]) == (ServiceRights("Files", " ".join(scopes), told),)


def test_a_service_with_one_permission_is_shown_by_its_title_only() -> None:
    assert SERVICES.rights_in_words(["mcp.time"]) == (ServiceRights("Time", "mcp.time", ()),)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mcp.web-pages.read", "read"),
        ("mcp.web-pages", "web pages"),
        ("mcp.web-pages.photos.read_all", "photos read all"),
        ("mcp.other.read", "other read"),
        ("x", "x"),
    ],
)
def test_a_permission_name_is_shown_without_the_name_of_its_service(name: str, words: str) -> None:
    assert in_words(name, service="web-pages") == words
