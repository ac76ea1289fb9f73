"""Which redirect URIs may be registered, and which requests match them."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oauth_core.clients.redirect_uris import APP_SCHEMES, check, check_app_scheme, host_of, is_loopback, matches
from oauth_core.errors import DisplayedError, ErrorCode
from tests.unit.refusals import refusal

UNKNOWN_SCHEMES = [
    "javascript:alert(1)",
    "data:text/html,x",
    "file:///etc/passwd",
    "vbscript:x",
    "blob:https://client.example/x",
    "view-source:https://client.example/",
    "ms-msdt:/id%20PCWDiagnostic",
    "ms-officecmd:x",
    "search-ms:query=x&crumb=location:%5C%5Cevil.example",
    "search:x",
    "x-javascript:alert(1)",
    "livescript:x",
    "steam://run/1",
    "tel:+123",
    "sms:+123",
    "ssh://evil.example/",
    "ldap://evil.example/",
    "git+ssh://evil.example/x",
    "urn:ietf:wg:oauth:2.0:oob",
    "myapp://callback",
    "app.:/cb",
    "app..x:/cb",
    "microsoft.windows.camera:x",
    "x-apple.systempreferences:com.apple",
    "windows.tbauth://x",
]


@pytest.mark.requirement("mcp:redirect-https")
@pytest.mark.parametrize(
    "uri",
    [
        "https://client.example/callback",
        "https://client.example:8443/callback?tenant=1",
        "https://claude.ai/api/mcp/auth_callback",
        "https://[2001:db8::1]/cb",
        "http://localhost/callback",
        "http://localhost:53127/callback",
        "http://127.0.0.1:1/",
        "http://[::1]:8080/cb",
        "cursor://anysphere.cursor-retrieval/oauth/user-x/callback",
        "com.example.app:/oauth",
        "vscode://vscode.github-authentication/did-authenticate",
        "warp://mcp/oauth2callback",
    ],
)
def test_redirect_uris_of_real_clients_are_accepted_unchanged(uri: str) -> None:
    assert check(uri) == uri


@pytest.mark.requirement(
    "mcp:redirect-https", "oauth21:tls", "oauth21:redirect-absolute", "rfc7591:redirect-validated"
)
@pytest.mark.parametrize(
    ("uri", "fault"),
    [
        *((uri, "not one of a known app") for uri in UNKNOWN_SCHEMES),
        ("JavaScript:alert(1)", "lower-case scheme"),
        ("HTTPS://client.example/", "lower-case scheme"),
        ("java\tscript:alert(1)", "character"),
        (" javascript:alert(1)", "character"),
        ("https://client.example/cb\n", "character"),
        ("https://client.example\\@evil.example/", "character"),
        ("https://client.example/\x00", "character"),
        ("https://cliént.example/", "character"),
        ("https://client.example/#fragment", "fragment"),
        ("https://client.example/cb#", "fragment"),
        ("https://client.example@evil.example/", "user name"),
        ("https://@evil.example/", "user name"),
        ("https:///evil.example/", "no host"),
        ("https:evil.example/cb", "no host"),
        ("https:/evil.example/cb", "no host"),
        ("https://:443/cb", "no host"),
        ("https://client%2eexample/", "plain name"),
        ("https://client.example%2f.evil.example/", "plain name"),
        ("https://client.example&.evil.example/", "plain name"),
        ("https://client.example:/", "plain name"),
        ("https://2130706433/cb", "plain name"),
        ("https://0x7f.1/cb", "plain name"),
        ("https://127.1/cb", "plain name"),
        ("https://1.2.3.4.5/", "plain name"),
        ("https://a..example/cb", "plain name"),
        ("https://.example/cb", "plain name"),
        ("www.client.example:443/login", "absolute"),
        ("client.example:8080", "absolute"),
        ("client.example:1?x", "absolute"),
        ("https://[fe80::1%25eth0]/", "plain name"),
        ("https://client.example:99999/", "not a URI"),
        ("https://[::1/", "not a URI"),
        ("http://client.example/cb", "only loopback"),
        ("http://localhost.evil.example/cb", "only loopback"),
        ("http://127.0.0.1.evil.example/cb", "only loopback"),
        ("http://127.0.0.2/cb", "only loopback"),
        ("http://127.1/cb", "only loopback"),
        ("http://2130706433/cb", "only loopback"),
        ("http://LOCALHOST/cb", "only loopback"),
        ("/relative", "absolute"),
        ("//client.example/cb", "absolute"),
        ("client.example", "absolute"),
        ("", "absolute"),
        ("app.example:", "nothing after"),
        ("1app:/cb", "absolute"),
        ("https://client.example/" + "a" * 2048, "longer"),
    ],
)
def test_a_dangerous_redirect_uri_is_refused_with_its_fault(uri: str, fault: str) -> None:
    with pytest.raises(DisplayedError, match=fault) as caught:
        check(uri)
    assert caught.value.code is ErrorCode.INVALID_REDIRECT_URI
    assert uri[:100] in caught.value.description


@pytest.mark.parametrize("value", [None, 1, True, [], {"uri": "https://client.example/"}, b"https://a.example/"])
def test_a_value_that_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(DisplayedError, match="not a string"):
        check(value)


def test_an_operator_can_add_the_scheme_of_an_app() -> None:
    assert check("myapp://callback", {check_app_scheme("myapp")}) == "myapp://callback"


@pytest.mark.parametrize(
    "scheme",
    [
        "",
        "My",
        "my app",
        "myapp:",
        "myapp://",
        "1app",
        "javascript",
        "https",
        "http",
        "data",
        "ms-msdt",
        "search-ms",
        *("explorer", "help", "itms-services", "ldap", "mhtml", "microsoft-edge", "res", "shell", "sms", "tel"),
    ],
)
def test_an_operator_cannot_add_a_scheme_that_is_not_of_one_app(scheme: str) -> None:
    with pytest.raises(ValueError, match=r"of a scheme|belongs to"):
        check_app_scheme(scheme)


@given(st.from_regex(r"[a-z][a-z0-9+-]{0,12}", fullmatch=True))
def test_a_scheme_without_a_dot_is_accepted_only_from_the_list(scheme: str) -> None:
    error = refusal(lambda: check(f"{scheme}://host/cb"))
    assert (error is None) == (scheme in APP_SCHEMES or scheme == "https")


ALPHABET = string.ascii_letters + string.digits + ":/?#[]@!$&'()*+,;=-._~%\\ \t\r\n\x00\u2044\u3002\u212a"
URI_LIKE = st.builds(
    lambda scheme, rest: scheme + rest,
    st.sampled_from(
        ["https://", "http://", "http://localhost", "http://127.0.0.1:", "http://[::1]", "app.example:", ""]
    ),
    st.text(ALPHABET, max_size=40),
)


@given(st.one_of(URI_LIKE, st.text(), st.integers(), st.lists(st.text(), max_size=2)))
@example("https://[")
@example("https://\u2100.example/")
def test_any_value_is_returned_unchanged_or_is_a_clear_error(value: object) -> None:
    error = refusal(lambda: check(value))
    assert check(value) == value if error is None else error.code is ErrorCode.INVALID_REDIRECT_URI


@given(URI_LIKE)
def test_an_accepted_uri_has_no_character_that_a_header_or_browser_reinterprets(uri: str) -> None:
    if refusal(lambda: check(uri)):
        return
    assert re.fullmatch(r"[\x21-\x7e]+", uri)
    assert not set(uri) & set('\\#<>"')


# -- matching ----------------------------------------------------------------------------------------------------


def test_an_identical_uri_matches() -> None:
    assert matches(["https://a.example/cb", "app:/cb"], "app:/cb")


@pytest.mark.requirement("oauth21:redirect-compare")
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_on_loopback_any_port_matches(host: str) -> None:
    registered = [f"http://{host}:1234/callback"]
    assert matches(registered, f"http://{host}:53127/callback")
    assert matches(registered, f"http://{host}/callback")
    assert matches([f"http://{host}/callback"], f"http://{host}:1/callback")


@pytest.mark.requirement("mcp:redirect-exact", "oauth21:redirect-compare")
@pytest.mark.parametrize(
    ("registered", "requested"),
    [
        ("https://a.example/cb", "https://a.example/cb/"),
        ("https://a.example/cb", "https://a.example/CB"),
        ("https://a.example/cb", "https://a.example/cb?x=1"),
        ("https://a.example/cb", "https://a.example/cb/../evil"),
        ("https://a.example/cb", "https://a.example:8443/cb"),
        ("https://a.example/cb", "https://a.example:443/cb"),
        ("https://a.example/cb", "https://b.a.example/cb"),
        ("https://a.example/cb", "http://a.example/cb"),
        ("https://localhost/cb", "https://localhost:1/cb"),
        ("http://localhost/cb", "https://localhost/cb"),
        ("http://localhost/cb", "http://127.0.0.1/cb"),
        ("http://127.0.0.1/cb", "http://[::1]/cb"),
        ("http://localhost/cb", "http://localhost:1/other"),
        ("http://localhost/cb?a=1", "http://localhost:1/cb?a=2"),
        ("http://localhost/cb", "http://localhost:1/cb/"),
        ("http://localhost", "http://localhost:1/"),
        ("http://localhost/cb", "http://localhost:1@evil.example/cb"),
        ("http://localhost/cb", "http://localhost:@evil.example/cb"),
        ("http://localhost/cb", "http://localhost:123456/cb"),
        ("http://localhost/cb", "http://localhost:1\\@evil.example/cb"),
        ("http://localhost/cb", "http://localhost.evil.example:1/cb"),
        ("http://localhost", "http://localhost:1\n"),
        ("app:/cb", "app:/cb?x"),
        ("cursor://one/cb", "cursor://two/cb"),
    ],
)
def test_any_difference_prevents_a_match(registered: str, requested: str) -> None:
    assert not matches([registered], requested)


def test_without_a_registered_uri_nothing_matches() -> None:
    assert not matches([], "https://a.example/cb")


def browser_host(uri: str) -> tuple[str, str]:
    """Scheme and host as a browser reads them, by the URL standard's rules for special schemes.

    White space at the ends and every tab and line break are removed; backslashes become slashes; any number of
    slashes may follow the scheme; everything before the last `@` is user info.
    """
    text = re.sub(r"[\t\r\n]", "", uri.strip("".join(map(chr, range(0x21)))))
    scheme, _, rest = text.replace("\\", "/").partition(":")
    authority = re.split(r"[/?#]", rest.lstrip("/"), maxsplit=1)[0]
    host = authority.rpartition("@")[2]
    if not host.startswith("["):
        host = host.partition(":")[0]
    return scheme.lower(), host.partition("]")[0].lower()


REGISTERED = ["http://localhost/cb", "http://127.0.0.1:8080/cb?x=1", "http://[::1]/", "https://client.example/cb"]
HOSTS = ("localhost", "127.0.0.1", "[::1]", "client.example", "evil.example", "http://", "https://", "http:", "//")
MARKS = ("/", "/cb", "?x=1", "@", ":", ":80", ":99999", "\\", "#", ".", "..", "%2f", "%00", "\t", "\n", " ")
PIECES = st.sampled_from((*HOSTS, *MARKS))
EDITS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), PIECES), min_size=1, max_size=3)


@given(st.sampled_from(REGISTERED), EDITS)
@example("http://localhost/cb", [(16, 0, ":80"), (19, 0, "@"), (20, 0, "evil.example")])
def test_no_edit_of_a_registered_uri_leads_a_browser_to_another_host(
    uri: str, edits: list[tuple[int, int, str]]
) -> None:
    requested = uri
    for position, dropped, piece in edits:
        requested = requested[:position] + piece + requested[position + dropped :]
    if matches(REGISTERED, requested):
        assert browser_host(requested) in {browser_host(uri) for uri in REGISTERED}


@given(st.sampled_from(["127.0.0.1", "[::1]", "localhost"]), st.integers(0, 65535), st.integers(0, 65535))
def test_two_loopback_ports_count_as_one_redirect_uri(host: str, one: int, other: int) -> None:
    assert matches([check(f"http://{host}:{one}/cb")], check(f"http://{host}:{other}/cb"))


# -- display ------------------------------------------------------------------------------------------------------


def test_the_displayed_target_is_the_host_or_the_kind_of_app() -> None:
    assert host_of("https://client.example:8443/cb") == "client.example:8443"
    assert host_of("cursor://anything.example/cb") == "cursor: (an app on this device)"


def test_only_loopback_uris_count_as_loopback() -> None:
    assert is_loopback("http://localhost:1/cb")
    assert not is_loopback("https://client.example/cb")
    assert not is_loopback("http://localhost.evil.example/cb")
