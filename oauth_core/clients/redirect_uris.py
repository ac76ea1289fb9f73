"""Which redirect URIs may be registered, and when a requested URI equals a registered one.

The comparison is exact, with one exception: a native app on loopback gets its port from the operating system each
time, so there any port matches (RFC 8252 section 7.3); host and path stay exact.

A list names the allowed schemes, not the forbidden ones: an operating system has hundreds of schemes for its own
programs (`ms-msdt:`, `search-ms:`), and some of those act on the rest of the URI.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.net.public_urls import is_loopback as is_this_machine
from oauth_core.net.public_urls import read_origin
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

_LONGEST = 2048
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?(?=[/?]|\Z)")
# A host and its port without a scheme, such as `www.example.com:8443/callback`.
_HOST_ALONE = re.compile(r"[a-z0-9.-]+:[0-9]{1,5}(?:[/?]|\Z)")
_PORT = re.compile(r":[0-9]+\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
# A scheme that an app derived from its own domain (RFC 8252 section 7.1), such as `com.example.app`.
_REVERSED_DOMAIN = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+\Z")
# Windows and macOS give their own programs schemes with a dot that begin like this.
_SYSTEM = frozenset({"explorer", "ie", "microsoft", "shell", "windows", "x-apple"})
# Schemes that no operator may add: a browser or an operating system would act on the caller's text.
_NEVER = frozenset(
    {
        "about",
        "blob",
        "chrome",
        "data",
        "file",
        "filesystem",
        "explorer",
        "ftp",
        "help",
        "http",
        "https",
        "intent",
        "itms-services",
        "jar",
        "javascript",
        "ldap",
        "mhtml",
        "microsoft-edge",
    }
    | {"mailto", "res", "resource", "search", "search-ms", "shell", "sms", "tel", "vbscript", "view-source"}
    | {"ws", "wss", "x-javascript"}
    # Not a scheme, but a host without its scheme.
    | {"localhost"}
)

APP_SCHEMES = frozenset(
    {"antigravity", "claude", "cursor", "goose", "grokbot", "kiro", "raycast", "trae", "vscode", "vscode-insiders"}
    | {"vscodium", "warp", "windsurf", "windsurf-next", "zed"}
)
"""Schemes without a dot that widely used MCP clients register for themselves."""


def check_app_scheme(scheme: str) -> str:
    """Return `scheme` when an operator may add it to `APP_SCHEMES`. Raises `ValueError`."""
    if not _SCHEME.match(scheme):
        raise ValueError("each is the name of a scheme, such as myapp, in lower case and without a colon")
    if scheme in _NEVER or scheme.startswith("ms-"):
        raise ValueError("one of them belongs to browsers or to the operating system, not to one app")
    return scheme


def check(uri: object, app_schemes: Collection[str] = APP_SCHEMES) -> str:
    """Return `uri` when it may be registered. Raises `DisplayedError`, which contains the URI and its fault.

    Allowed are https, http on loopback, schemes that are a reversed domain name (`com.example.app`), and
    `app_schemes`.
    """
    if not isinstance(uri, str):
        raise refused(OAuthReason.REDIRECT_URI_NOT_TEXT, uri=repr(uri)[:100])
    if len(uri) > _LONGEST:
        raise refused(OAuthReason.REDIRECT_URI_TOO_LONG, uri=f"{uri[:100]}...", longest=_LONGEST)
    # Browsers and parsers differ on white space, backslashes and user info, so they could read different hosts.
    if not uri.isascii() or re.search(r"[\x00-\x20\x7f\\<>\"`{}|^]", uri):
        raise refused(OAuthReason.REDIRECT_URI_CHARACTERS, uri=uri)
    if "#" in uri:
        raise refused(OAuthReason.REDIRECT_URI_FRAGMENT, uri=uri)
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise refused(OAuthReason.REDIRECT_URI_MALFORMED, uri=uri) from None
    if not _SCHEME.match(uri.partition(":")[0]) or not parts.scheme or _HOST_ALONE.match(uri):
        raise refused(OAuthReason.REDIRECT_URI_RELATIVE, uri=uri)
    if not _is_allowed_scheme(parts.scheme, app_schemes):
        raise refused(OAuthReason.REDIRECT_URI_SCHEME, uri=uri, scheme=parts.scheme)
    if "@" in parts.netloc:
        raise refused(OAuthReason.REDIRECT_URI_USER, uri=uri)
    if parts.scheme in {"http", "https"} and not parts.hostname:
        raise refused(OAuthReason.REDIRECT_URI_NO_HOST, uri=uri)
    if parts.scheme == "http" and not _LOOPBACK.match(uri):
        raise refused(OAuthReason.REDIRECT_URI_HTTP, uri=uri)
    # This server and the browser's address bar write an escaped or exotic host differently.
    if parts.scheme == "https" and not _is_plain_host(parts.netloc):
        raise refused(OAuthReason.REDIRECT_URI_ODD_HOST, uri=uri)
    if not parts.netloc and not parts.path:
        raise refused(OAuthReason.REDIRECT_URI_EMPTY, uri=uri)
    return uri


def matches(registered: Iterable[str], requested: str) -> bool:
    """Whether `requested` is one of `registered`: byte for byte, or on loopback for any port."""
    portless = _without_port(requested)
    return any(
        requested == candidate or (portless is not None and portless == _without_port(candidate))
        for candidate in registered
    )


def for_any_port(uri: str) -> str:
    """`uri` in the form for comparison: on loopback without its port."""
    return _without_port(uri) or uri


def host_of(uri: str) -> str:
    """The destination to show a person: the host, or the scheme of an app."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in {"http", "https"} else f"{parts.scheme}: (an app on this device)"


def is_loopback(uri: str) -> bool:
    """Whether `uri` leads to a program on the user's own machine."""
    return _LOOPBACK.match(uri) is not None


def is_https(uri: str) -> bool:
    """Whether only the owner of a web address receives a redirect to `uri`: never on the user's own machine."""
    return uri.startswith("https://") and not is_this_machine(uri)


def is_on_this_machine(uri: str) -> bool:
    """Whether `uri` leads a browser to a web server on the user's own machine, by http or https."""
    return urlsplit(uri).scheme in {"http", "https"} and is_this_machine(uri)


def _is_plain_host(authority: str) -> bool:
    """Whether browsers read `authority` as it is written: `2130706433` and `0x7f.1` mean 127.0.0.1 to them."""
    try:
        read_origin(f"https://{_PORT.sub('', authority)}")
    except ValueError:
        return False
    return True


def _is_allowed_scheme(scheme: str, app_schemes: Collection[str]) -> bool:
    if scheme in {"http", "https"} or scheme in app_schemes:
        return True
    return _REVERSED_DOMAIN.match(scheme) is not None and scheme.partition(".")[0] not in _SYSTEM


def _without_port(uri: str) -> str | None:
    found = _LOOPBACK.match(uri)
    return None if found is None else f"http://{found[1]}{uri[found.end() :]}"
