"""Resource URIs for rules: the canonical form that a rule is compared with, and other forms of the same resource.

Clients, SDKs and servers read a URI with different parsers (RFC 3986, the WHATWG URL standard, or plain text
functions), and these make one resource of several texts: `file:/a`, `file://localhost/a` and `file:///a`, or
`%40` and `@`. A rule that is compared with the text alone is passed with another spelling. So each URI is brought
into one form first. A URI that programs could still read differently has none, and is refused.
"""

from __future__ import annotations

import re
import unicodedata
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

_LONGEST = 2048
# Visible ASCII but for the backslash, which WHATWG parsers read as a slash. Braces are for templates.
_VISIBLE = re.compile(r"[!-\[\]-~]+\Z")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*\Z")
_FILE = re.compile(r"(?://(?:localhost)?)?(?P<path>/(?!/)[^|]*)\Z")
_WEB = re.compile(r"//(?P<authority>[^/?#]+)(?P<path>.*)\Z")
_OTHER = re.compile(r"(?P<authority>//[^/?#]*)?(?P<path>.*)\Z")
_WEB_PORTS = {"ftp": "21", "http": "80", "https": "443", "ws": "80", "wss": "443"}
"""Schemes with a host that every parser folds, and the port that parsers drop (WHATWG URL, "special scheme")."""
_HOST = re.compile(
    r"(?P<host>[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?\Z"
)
_EMPTY_PARTS = re.compile(r"//:?@|:@|:(?:0[0-9]*)?\Z")
"""Of an authority: no user, no password or no port where the sign for one is. Parsers drop these, and zeros."""
_EXPRESSION = re.compile(r"\{[^{}]*\}")
"""Of a template, as `completion/complete` names them."""
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_DRIVE = re.compile(r"(?<=file:///)[a-z](?=:)")
_ESCAPES = re.compile(r"(?:%[0-9A-F]{2})+")
# What needs no escape (RFC 3986 section 2.3), and what means something else once it is escaped.
_NEVER_ESCAPED = re.compile(r"[A-Za-z0-9~_\-./\\%?#]")
_JOINERS = "\u200c\u200d"
"""Format characters that words of Persian and of languages of India need, and some emoji."""
_WILDCARD = "{}"
"""Stands for `*` while a pattern is read as a URI: no other template expression is empty."""


def canonical(uri: str) -> str | None:
    """The form of `uri` that rules are compared with; `None` when programs could read `uri` differently.

    Escapes are decoded where they mean the same as the character, `file:` has three slashes and no host, an empty
    path of the web's schemes is `/`, and text is in Unicode's form NFC. The form is for comparison: it is no URI.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or len(uri) > _LONGEST or not _VISIBLE.match(uri) or not _SCHEME.match(scheme):
        return None
    if scheme == "file":
        after = _after_file(rest)
    elif scheme in _WEB_PORTS:
        after = _after_web(scheme, rest)
    else:
        after = _after_other(rest)
    form = None if after is None else _decoded(f"{scheme}:{after}")
    return _DRIVE.sub(_upper, form, count=1) if form is not None and scheme == "file" else form


def other_forms(form: str) -> tuple[str, ...]:
    """Other canonical forms of what some programs take for the same resource as `form`.

    Without the fragment, without the query, with and without the slash at the end; and where the scheme has no
    host that every parser knows, with any number of slashes before the rest.
    """
    bare = re.split(r"[?#]", form, maxsplit=1)[0]
    ends = (form, form.partition("#")[0], bare, bare.rstrip("/"), f"{bare.rstrip('/')}/")
    scheme = form.partition(":")[0]
    if scheme == "file" or scheme in _WEB_PORTS:
        found = dict.fromkeys(ends)
    else:
        rests = [end.removeprefix(f"{scheme}:").lstrip("/") for end in ends]
        found = dict.fromkeys((*ends, *(f"{scheme}:{slashes}{rest}" for slashes in _SLASHES for rest in rests)))
    found.pop(form)
    return tuple(found)


_SLASHES = ("", "/", "//", "///")


def canonical_pattern(pattern: str) -> str:
    """The form of a rule's `pattern` that canonical forms are compared with; `*` stands for any characters.

    Raises `ValueError` when the pattern could match no canonical form, or not those that it seems to mean.
    """
    if "%2A" in pattern.upper() or _WILDCARD in pattern:
        raise ValueError(f"{pattern!r} has an escaped * or an empty template expression, which no rule can name")
    start = pattern.partition("*")[0]
    scheme, colon, rest = start.partition(":")
    encoded = "".join(quote(char) if ord(char) > ord("~") or char == " " else char for char in pattern)
    if "*" in pattern and (not colon or not rest.strip("/")):
        # It begins in the scheme or before the host or path, so there is nothing to bring into one form.
        found = _decoded(encoded) if _VISIBLE.match(encoded) and (not colon or _SCHEME.match(scheme)) else None
    else:
        found = canonical(encoded.replace("*", _WILDCARD))
        found = found and found.replace(_WILDCARD, "*")
    if found is None:
        raise ValueError(
            f"{pattern!r} matches no URI that is accepted: write it with its scheme and host in small letters, "
            "file: without a host, no default port, no user name, no dot segments and no needless escapes"
        )
    return found


def _after_file(rest: str) -> str | None:
    # Many servers drop a host and open the path, so a host would be one more spelling (RFC 8089 appendix B).
    match = _FILE.match(rest)
    return f"//{match['path']}" if match is not None and _has_plain_segments(match["path"]) else None


def _after_web(scheme: str, rest: str) -> str | None:
    match = _WEB.match(rest)
    if match is None or not _has_plain_segments(match["path"]):
        return None
    authority, path = match["authority"], match["path"]
    if not _is_plain_host(_EXPRESSION.sub("x", authority), _WEB_PORTS[scheme]):
        return None
    is_whole = path.startswith("/") or authority.endswith(_WILDCARD)
    return f"//{authority}{'' if is_whole else '/'}{path}"


def _after_other(rest: str) -> str | None:
    match = _OTHER.match(rest)
    if match is None:
        return None
    authority = match["authority"] or ""
    plain = _ESCAPES.sub("", authority)
    if plain != plain.lower() or authority in {"//.", "//.."} or _EMPTY_PARTS.search(authority):
        return None
    return rest if _has_plain_segments(match["path"]) else None


def _is_plain_host(authority: str, default_port: str) -> bool:
    """Whether `authority` is a host, perhaps with a port, in the only spelling that a parser leaves as it is."""
    match = _HOST.match(authority)
    if match is None or match["port"] == default_port:
        return False
    host = match["host"]
    try:
        if host.startswith("["):
            return f"[{IPv6Address(host[1:-1])}]" == host
        if _NUMBER.match(host.rpartition(".")[2]):
            return str(IPv4Address(host)) == host
    except AddressValueError:
        return False
    return ".." not in host


def _has_plain_segments(rest: str) -> bool:
    """Whether `rest`, a path and what follows it, has no segments that programs remove.

    Some take a query for part of the path: `a?/../../b` must not be a name below `a`. Some cut parameters off a
    segment before they compare it with the dots (`..;x`).
    """
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    segments = {segment.partition(";")[0] for segment in (*path.split("/"), *rest.split("/"))}
    return "//" not in path and not segments & {".", ".."}


def _decoded(text: str) -> str | None:
    """`text` with its escapes decoded; `None` if one is needless, means something else, or is not text."""
    try:
        plain = unicodedata.normalize("NFC", _ESCAPES.sub(_decoded_run, text))
    except ValueError:
        return None
    return None if "%" in plain else plain


def _upper(found: re.Match[str]) -> str:
    return found[0].upper()


def _decoded_run(run: re.Match[str]) -> str:
    """The characters of a run of escapes; raise `ValueError` when one must not be there."""
    text = bytes.fromhex(run[0].replace("%", "")).decode("utf-8")
    if _NEVER_ESCAPED.search(text) or any(
        unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp"} and char not in _JOINERS for char in text
    ):
        raise ValueError("an escape that is needless, or for a separator or a control character")
    return text
