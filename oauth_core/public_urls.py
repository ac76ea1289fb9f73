"""URLs of the settings that identify something for ever, in the one spelling that all compare."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

# A name or address that DNS and browsers read alike, a port in its shortest form, and a path of plain characters.
_ONE_SPELLING = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[1-9][0-9]*)?(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*\Z"
)


def origin_of(url: str) -> str:
    """Scheme, host and port of `url`, in the spelling of the header `Origin` if it is a URL of the settings."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def path_of(url: str) -> str:
    """The path of `url`: empty, or beginning with a slash and not ending in one if it is a URL of the settings."""
    return urlsplit(url).path


def well_known(url: str, name: str) -> str:
    """Where document `name` about `url` is: the well-known part goes before the path (RFC 8414 section 3.1)."""
    return f"{origin_of(url)}/.well-known/{name}{path_of(url)}"


def is_loopback(url: str) -> bool:
    """Whether the host of `url` names this machine only (RFC 8252 section 7.3, and `localhost`)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_public_url(url: str, *, what: str) -> str:
    """Return `url` when it is fit to identify something for ever; raise `ValueError` saying why not.

    It must already be in the one spelling that everybody will compare byte for byte: https (http on loopback),
    a lower-case host, no user info, query, fragment, default port, dot segment or escape.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{what} {url!r} is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{what} {url!r} is not an http or https URL")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError(f"{what} {url!r} must use https; only loopback addresses may use http")
    if parts.netloc != parts.netloc.lower() or "@" in parts.netloc:
        raise ValueError(f"{what} {url!r} must have a lower-case host and no user name")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"{what} {url!r} must not have a query or a fragment")
    if port == {"http": 80, "https": 443}[parts.scheme]:
        raise ValueError(f"{what} {url!r} must leave its default port out")
    segments = parts.path.split("/")[1:]
    if "%" in parts.path or "\\" in url or any(s in {"", ".", ".."} for s in segments):
        raise ValueError(f"{what} {url!r} must not have a trailing slash, empty, dotted or escaped path segments")
    if not _ONE_SPELLING.match(url):
        raise ValueError(f"{what} {url!r} has a character that a URL to compare byte for byte may not have")
    return url


def faults_of(url: str, *, what: str) -> Iterator[str]:
    """What `check_public_url` would raise, as a line; nothing when the URL is fit."""
    try:
        check_public_url(url, what=what)
    except ValueError as error:
        yield str(error)
