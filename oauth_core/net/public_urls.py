"""URLs in the settings that are permanent identifiers, in the one form that is compared."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.net.quoted_addresses import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

# A name or address that DNS and browsers read in the same way, a port in its shortest form, and a path of plain
# characters.
_ONE_SPELLING = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::[1-9][0-9]*)?(?:/[A-Za-z0-9._~!$&'()*+,=:@-]+)*\Z"
)

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_ORIGIN = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://"
    rf"(?P<host>\[[0-9A-Fa-f:.]+\]|(?=[^:/]{{1,254}}(?:[:/]|\Z)){_LABEL}(?:\.{_LABEL})*\.?)(?::(?P<port>[0-9]{{1,6}}))?/?"
)
_ORIGIN_SCHEMES = frozenset(
    {"http", "https", "app", "capacitor", "ionic", "tauri", "vscode-webview"}
    | {"chrome-extension", "moz-extension", "safari-web-extension"}
)
"""Schemes of pages that send an `Origin` with a host: those of the web, of apps made of pages, and of browser
extensions. A page of another scheme (`file:`, `data:`) sends `null`.
"""
DEFAULT_PORTS = {"http": 80, "https": 443}
"""The port of a URL that names none, by its scheme (RFC 9110 section 4.2)."""

_LAST_PORT = 65_535


def origin_of(url: str) -> str:
    """Return scheme, host and port of `url`, in the form of the header `Origin` if it is a URL of the settings."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def read_origin(text: str) -> str:
    """Return `text` in the one form that browsers send as `Origin` (RFC 6454 section 6.1). Raises `ValueError`.

    Upper case, a default port and a single slash at the end are corrected. A value that no browser sends is
    refused. The message does not repeat the text.
    """
    found = _ORIGIN.fullmatch(text)
    if found is None:
        raise ValueError(
            "an origin is a scheme and a host and no more, such as https://app.example.com or "
            "http://localhost:3000: no path, no wildcard, no user name"
        )
    scheme, host, port = found["scheme"].lower(), found["host"].lower(), found["port"]
    if scheme not in _ORIGIN_SCHEMES:
        raise ValueError(f"an origin has one of the schemes {', '.join(sorted(_ORIGIN_SCHEMES))}")
    number = int(port) if port else None
    if number is not None and not 0 < number <= _LAST_PORT:
        raise ValueError("an origin has a port from 1 to 65535, or none")
    return f"{scheme}://{_canonical(host)}{'' if number in {None, DEFAULT_PORTS.get(scheme)} else f':{number}'}"


def _canonical(host: str) -> str:
    """Return a host as browsers write it. Raises `ValueError` for an address in an unusual notation."""
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host.strip('[]')).compressed}]"
        # With a numeric last label a browser parses the whole host as an IPv4 address, in any notation.
        if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", host.rstrip(".").rpartition(".")[2]):
            return str(IPv4Address(host))
    except ValueError:
        raise ValueError("an origin has an IP address in its usual notation, or a name") from None
    return host


def path_of(url: str) -> str:
    """Return the path of `url`: for a URL of the settings, empty or with a slash only at the start."""
    return urlsplit(url).path


def well_known(url: str, name: str) -> str:
    """Return the URL of document `name` about `url`: the path comes last (RFC 8414 section 3.1)."""
    return f"{origin_of(url)}/.well-known/{name}{path_of(url)}"


def is_loopback(url: str) -> bool:
    """Return whether the host of `url` names this machine only (RFC 8252 section 7.3, and `localhost`)."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def is_http_url(text: str) -> bool:
    """Return whether `text` is an http or https URL with a host. Never raises an error that contains the text."""
    try:
        parts = urlsplit(text)
        return parts.scheme in DEFAULT_PORTS and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def check_public_url(url: str, *, what: str) -> str:
    """Return `url` when it can be a permanent identifier; else raise `ValueError` with the reason.

    It must already be in the one form that is compared byte for byte: https (http on loopback), a lower-case host,
    no user info, query, fragment, default port, dot segment or escape. The message quotes no more of `url` than
    `quoted` does.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{what}{quoted(url)} is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{what}{quoted(url)} is not an http or https URL")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError(f"{what}{quoted(url)} must use https; only loopback addresses may use http")
    if parts.netloc != parts.netloc.lower() or "@" in parts.netloc:
        raise ValueError(f"{what}{quoted(url)} must have a lower-case host and no user name")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"{what}{quoted(url)} must not have a query or a fragment")
    if port == DEFAULT_PORTS[parts.scheme]:
        raise ValueError(f"{what}{quoted(url)} must leave its default port out")
    segments = parts.path.split("/")[1:]
    if "%" in parts.path or "\\" in url or any(s in {"", ".", ".."} for s in segments):
        raise ValueError(
            f"{what}{quoted(url)} must not have a trailing slash, empty, dotted or escaped path segments"
        )
    if not _ONE_SPELLING.match(url):
        raise ValueError(f"{what}{quoted(url)} has a character that a URL to compare byte for byte may not have")
    return url


def faults_of(url: str, *, what: str) -> Iterator[str]:
    """Yield the error of `check_public_url` as a line, if there is one."""
    try:
        check_public_url(url, what=what)
    except ValueError as error:
        yield str(error)
