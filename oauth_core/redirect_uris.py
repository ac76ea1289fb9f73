"""Which redirect URIs may be registered, and when a requested one is the registered one.

Exact comparison, except that a native app on loopback gets its port from the operating system each time, so
there any port matches (RFC 8252 section 7.3); host and path stay exact.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.public_urls import is_loopback as is_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST = 2048
_LOOPBACK = re.compile(r"http://(127\.0\.0\.1|\[::1\]|localhost)(?::[0-9]{1,5})?(?=[/?]|\Z)")
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
# Schemes that a browser acts on by itself: redirecting there would run or show what the caller wrote.
_NEVER = frozenset(
    {"about", "blob", "chrome", "data", "file", "filesystem", "ftp", "intent", "javascript", "mailto"}
    | {"resource", "vbscript", "view-source", "ws", "wss"}
    # Not a scheme but a host whose scheme was forgotten.
    | {"localhost"}
)


def check(uri: object) -> str:
    """Return `uri` when it may be registered. Raises `DisplayedError` that names it and says what is wrong."""
    if not isinstance(uri, str):
        raise _refused(repr(uri)[:100], "is not a string")
    if len(uri) > _LONGEST:
        raise _refused(f"{uri[:100]}...", f"is longer than {_LONGEST} characters")
    # Browsers and parsers differ on white space, backslashes and user info: that is how hosts get confused.
    if not uri.isascii() or re.search(r"[\x00-\x20\x7f\\<>\"`{}|^]", uri):
        raise _refused(uri, "has a character that a URI may not contain")
    if "#" in uri:
        raise _refused(uri, "has a fragment")
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        raise _refused(uri, "is not a URI") from None
    if not _SCHEME.match(uri.partition(":")[0]) or not parts.scheme:
        raise _refused(uri, "is not an absolute URI with a lower-case scheme")
    if parts.scheme in _NEVER:
        raise _refused(uri, f"has the scheme {parts.scheme}, which is not safe to redirect to")
    if "@" in parts.netloc:
        raise _refused(uri, "has a user name in it")
    if parts.scheme in {"http", "https"} and not parts.hostname:
        raise _refused(uri, "has no host")
    # An escaped or exotic host is spelled one way here and another way in the browser's address bar.
    if parts.scheme in {"http", "https"} and not _HOST.match(parts.netloc):
        raise _refused(uri, "has a host that is not a plain name or address")
    if parts.scheme == "http" and not _LOOPBACK.match(uri):
        raise _refused(uri, "uses http; only loopback addresses may")
    if not parts.netloc and not parts.path:
        raise _refused(uri, "has nothing after its scheme")
    return uri


def matches(registered: Iterable[str], requested: str) -> bool:
    """Whether `requested` is one of `registered`: byte for byte, or on loopback for any port."""
    portless = _without_port(requested)
    return any(
        requested == candidate or (portless is not None and portless == _without_port(candidate))
        for candidate in registered
    )


def for_any_port(uri: str) -> str:
    """`uri` as it is compared: on loopback without its port."""
    return _without_port(uri) or uri


def host_of(uri: str) -> str:
    """What to show a person as the place they will be sent to: the host, or the scheme of an app."""
    parts = urlsplit(uri)
    return parts.netloc if parts.scheme in {"http", "https"} else f"{parts.scheme}: (an app on this device)"


def is_loopback(uri: str) -> bool:
    """Whether `uri` leads to a program on the user's own machine."""
    return _LOOPBACK.match(uri) is not None


def is_https(uri: str) -> bool:
    """Whether only whoever serves a web address gets what is sent to `uri`: never on the user's own machine."""
    return uri.startswith("https://") and not is_this_machine(uri)


def _without_port(uri: str) -> str | None:
    found = _LOOPBACK.match(uri)
    return None if found is None else f"http://{found[1]}{uri[found.end() :]}"


def _refused(uri: str, fault: str) -> DisplayedError:
    return DisplayedError(ErrorCode.INVALID_REDIRECT_URI, f"redirect URI {uri} {fault}")
