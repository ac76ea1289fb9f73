"""Resource URIs for rules: the canonical form that a rule is compared with, and other forms of the same resource.

Clients, SDKs and servers read a URI with different parsers (RFC 3986, the WHATWG URL standard, or plain text
functions), which read several texts as one resource: `file:/a`, `file://localhost/a` and `file:///a`, or `%40` and
`@`. With a comparison of the text alone, another spelling would bypass a rule. So each URI is first converted to
one form. A URI that programs could still read differently has no such form, and is refused.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from oauth_core.display_text import has_short_runs_of_marks, is_displayable

_LONGEST = 2048
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
"""In an authority: an empty user, password or port after its separator. Parsers drop these, and leading zeros."""
_AFTER_HOST = re.compile(r"(?<=\])[^\]]*\Z|(?<!\[):[^\[\]]*\Z")
"""From the first colon after a host, or after the brackets of an IPv6 address."""
_SAME_IN_ALL_FORMS = re.compile(r"[\x21-\x7e]*?(?=[%?#;]|[^\x21-\x7e]|\Z)")
_CAPITALS = re.compile(r"[A-Z]")
_EXPRESSION = re.compile(r"\{[^{}]*\}")
"""An expression of a URI template, which `completion/complete` uses."""
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\Z")
_DOTS = re.compile(r"(?:\A|/)\s*\.\.?\s*(?:[/;?#]|%3B|%3F|%23|\Z)|/\s*(?:;|%3B)")
"""A segment of dots, as programs recognise it, or one of parameters only, which they remove with its slash."""
_PARAMETERS = re.compile(r";[^/?#]*")
"""The parameters of a path segment (RFC 3986 section 3.3)."""
_DRIVE = re.compile(r"(?<=file:///)[a-z](?=:)")
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
_BARE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TWICE = re.compile(r"%25(?:[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})")
"""In a canonical form: an escape whose own percent sign was escaped. Some programs decode twice."""
_SEPARATORS = frozenset("/\\")
_KEPT = {"%": "%25", "?": "%3F", "#": "%23", ";": "%3B"}
"""Characters that separate the parts of a URI; escaped, they have another meaning."""
_KEPT_IN_QUERY = _KEPT | {"&": "%26", "=": "%3D", "+": "%2B"}
_RELEASED = {escape: char for char, escape in _KEPT_IN_QUERY.items() if char != "%"}
_ANY_KEPT = re.compile("|".join(_RELEASED))
_MARKS = ("?", "#", ";", "+", " ", "%3F", "%23", "%3B")
_FOLDED_SCHEMES = ("file:", *(f"{scheme}:" for scheme in _WEB_PORTS))
_SLASHES = ("", "/", "//", "///")
MOST_WAYS = 250
"""A URI with more ways to read it is refused. Otherwise a caller could make its comparison with rules slow."""
_WILDCARD = "{}"
"""Replaces `*` while a pattern is read as a URI: no other template expression is empty."""


def canonical(uri: str) -> str | None:
    """The form of `uri` that rules are compared with; `None` when programs could read `uri` differently.

    Escapes are decoded where they mean the same as the character (RFC 3986 section 6.2.2), so a blank or a letter
    of any script has one form, escaped or not; separators (`%23`, `%3F`, `%25`) stay escaped. `file:` has three
    slashes and no host, an empty path of the web's schemes is `/`, and text is in Unicode's form NFC. The form is
    only for comparison and is no URI.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or len(uri) > _LONGEST or not _SCHEME.match(scheme) or not _is_text(uri):
        return None
    plain = _decoded(rest)
    if plain is None:
        return None
    if scheme == "file":
        after = _after_file(plain)
    elif scheme in _WEB_PORTS:
        after = _after_web(scheme, rest, plain)
    else:
        after = _after_other(plain)
    if after is None or ways_to_read(form := f"{scheme}:{after}") > MOST_WAYS:
        return None
    return _DRIVE.sub(_upper, form, count=1) if scheme == "file" else form


def ways_to_read(form: str) -> int:
    """An estimate of the number of forms that rules must be compared with for `form`.

    It grows with the kinds of separators in it and with the parts of its host that a server may ignore.
    """
    marks = sum(mark in form for mark in _MARKS)
    slashes = 1 if form.startswith(_FOLDED_SCHEMES) else len(_SLASHES) + 1
    return (1 + len(readings_of_host(form))) * (1 + marks) * slashes


@lru_cache(maxsize=4096)
def readings_of_host(form: str) -> tuple[str, ...]:
    """Canonical forms of the resource that a server may find for `form` if it ignores a part before the path.

    Where the scheme has no host that every parser knows, a server may ignore a user name, a password, a port and
    the dots at the end of a name: it may read `note://me:x@private.:80/a` as `note://private/a`.
    """
    scheme, _, rest = form.partition(":")
    if scheme == "file" or scheme in _WEB_PORTS or not rest.startswith("//"):
        return ()
    authority, path = _parted(rest)
    user, at, place = authority.rpartition("@")
    host = _AFTER_HOST.sub("", place)
    users = dict.fromkeys((f"{user}{at}", f"{user.partition(':')[0]}{at}", ""))
    places = dict.fromkeys((place, host, f"{host.rstrip('.')}{place.removeprefix(host)}", host.rstrip(".")))
    found = dict.fromkeys(f"{scheme}://{user}{place}{path}" for user in users for place in places)
    found.pop(form, None)
    return tuple(found)


def names_host(pattern: str, form: str) -> bool:
    """Whether a rule's `pattern` names exactly the host and port of the URI `form`; user names may differ."""
    scheme, _, rest = form.partition(":")
    if not pattern.startswith(f"{scheme}://") or not rest.startswith("//"):
        return False
    named = _parted(pattern.removeprefix(f"{scheme}:"))[0].rpartition("@")[2]
    return "*" not in named and named == _parted(rest)[0].rpartition("@")[2]


def _parted(rest: str) -> tuple[str, str]:
    """The text between `//` and the path, and the rest."""
    authority = re.split("[/?#]", rest[2:], maxsplit=1)[0]
    return authority, rest[2 + len(authority) :]


def other_forms(form: str) -> tuple[str, ...]:
    """Other canonical forms that some programs read as the same resource as `form`.

    Without the fragment, the query or the parameters of segments, with and without the slash at the end; with `?`,
    `#` and the like as part of a name, or with their escapes as the characters themselves; with `+` for a blank in
    the query. Where the scheme has no host that every parser knows, also with any number of slashes before the
    rest, and in lower case.
    """
    scheme = form.partition(":")[0]
    path, mark, query = form.partition("?")
    read: tuple[str, ...] = (
        form,
        _ANY_KEPT.sub(lambda found: _RELEASED[found[0]], form),
        form.replace("?", "%3F").replace("#", "%23").replace(";", "%3B"),
        path + mark + query.replace("+", " "),
        path + mark + query.replace(" ", "+"),
        form.replace("%3F", "?"),
        form.replace("%23", "#"),
        form.replace("%3B", ";"),
        form.replace(";", "%3B"),
    )
    read += tuple(_PARAMETERS.sub("", text) for text in read)
    ends = [end for text in dict.fromkeys(read) for end in _ends(text)]
    if scheme == "file" or scheme in _WEB_PORTS:
        found = dict.fromkeys(ends)
    else:
        rests = [end.removeprefix(f"{scheme}:").lstrip("/") for end in ends]
        rests += [rest.lower() for rest in rests if not rest.isascii()]
        found = dict.fromkeys((*ends, *(f"{scheme}:{slashes}{rest}" for slashes in _SLASHES for rest in rests)))
    found.pop(form, None)
    return tuple(found)


def may_match_a_form_of(pattern: str, form: str) -> bool:
    """Whether a rule's `pattern` may match `form` or one of its `other_forms`; false only when it matches none.

    They differ in case, in the slashes at the start, and from the first of `%?#;`, space and letters beyond ASCII.
    """
    scheme, _, rest = form.partition(":")
    named, colon, start = pattern.partition("*")[0].partition(":")
    if not colon:
        return True
    start = start.lstrip("/")
    same = _SAME_IN_ALL_FORMS.match(rest.lstrip("/"))
    shared = same[0].rstrip("/").lower() if same is not None else ""
    return named == scheme and shared.startswith(start[: len(shared)].lower())


def _ends(form: str) -> tuple[str, ...]:
    bare = re.split(r"[?#]", form, maxsplit=1)[0]
    return form, form.partition("#")[0], bare, bare.rstrip("/"), f"{bare.rstrip('/')}/"


def canonical_pattern(pattern: str) -> str:
    """The form of a rule's `pattern` that canonical forms are compared with; `*` stands for any characters.

    Raises `ValueError` when the pattern could match no canonical form, or not those that it seems to mean.
    """
    if "%2A" in pattern.upper() or _WILDCARD in pattern:
        raise ValueError(f"{pattern!r} has an escaped * or an empty template expression, which no rule can name")
    start = pattern.partition("*")[0]
    _, colon, rest = start.partition(":")
    if "*" in pattern and (not colon or not rest.strip("/")):
        # The `*` is in the scheme or before the host or path, so there is no URI to convert to one form.
        found = _decoded(pattern) if _is_text(pattern) and _may_match_a_form(pattern) else None
    else:
        found = canonical(pattern.replace("*", _WILDCARD))
        found = found and found.replace(_WILDCARD, "*")
    if found is None:
        raise ValueError(
            f"{pattern!r} matches no URI that is accepted: write it with its scheme and host in small letters, "
            "file: without a host, no default port, no user name, no dot segments and no escaped slashes"
        )
    return found


_STARTS = ("", "x", "/x", "//x", "///x", "file", "https", "note", "file:///x", "https://x", "note:x")
"""Examples of the text for the first `*` of a pattern if it comes before the path: one for each kind of URI."""


def _may_match_a_form(pattern: str) -> bool:
    """Whether some canonical form may match `pattern`: `https://*.Example.com/a` or `*/../a` match none."""
    first, _, rest = pattern.partition("*")
    return any(
        canonical(f"{first}{start}{rest.replace('*', other)}") is not None
        for start in _STARTS
        for other in ("x", "1", "")
    )


def _is_text(uri: str) -> bool:
    """Whether `uri` has only characters that every parser keeps.

    Parsers drop blanks at the ends and control characters, and those of the web read a backslash as a slash.
    """
    return uri == uri.strip() and "\\" not in uri and is_displayable(uri)


def _after_file(rest: str) -> str | None:
    # Many servers drop a host and open the path, so a host would be another spelling (RFC 8089 appendix B).
    match = _FILE.match(rest)
    return f"//{match['path']}" if match is not None and _has_plain_segments(match["path"]) else None


def _after_web(scheme: str, written: str, rest: str) -> str | None:
    match = _WEB.match(rest)
    if match is None or not _has_plain_segments(match["path"]):
        return None
    authority, path = match["authority"], match["path"]
    # Some parsers decode escapes in a host, and some do not.
    if not written.startswith(f"//{authority}"):
        return None
    if not _is_plain_host(_EXPRESSION.sub("x", authority), _WEB_PORTS[scheme]):
        return None
    is_whole = path.startswith("/") or authority.endswith(_WILDCARD)
    return f"//{authority}{'' if is_whole else '/'}{path}"


def _after_other(rest: str) -> str | None:
    match = _OTHER.match(rest)
    if match is None:
        return None
    authority = match["authority"] or ""
    # An expression of a template, as in `user://{userId}/profile`, is a name: its case means something.
    if (
        _CAPITALS.search(_EXPRESSION.sub("", authority))
        or authority in {"//.", "//.."}
        or _EMPTY_PARTS.search(authority)
    ):
        return None
    if authority.count("@") > 1:  # for some parsers the user name ends at the first one, for others at the last
        return None
    # Parsers that resolve a host compare it in this form.
    if unicodedata.normalize("NFKC", authority) != authority:
        return None
    return rest if _has_plain_segments(match["path"]) else None


def _is_plain_host(authority: str, default_port: str) -> bool:
    """Whether `authority` is a host, perhaps with a port, in the only spelling that every parser keeps."""
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

    Some read a query as part of the path: `a?/../../b` must not be a name below `a`. Some remove parameters
    (`..;x`) or blanks from a segment before they compare it with the dots, and some fold wide dots and slashes
    into these.
    """
    path = re.split(r"[?#]", rest, maxsplit=1)[0]
    folded = rest if rest.isascii() else unicodedata.normalize("NFKC", rest)
    if folded.count("/") != rest.count("/") or "\\" in folded:
        return False
    return "//" not in path and not _DOTS.search(rest) and not _DOTS.search(folded)


def _decoded(text: str) -> str | None:
    """`text` with its escapes decoded; `None` if one is a separator or a control character, or is not text."""
    if _BARE_PERCENT.search(text):
        return None
    path, mark, query = text.partition("?")
    try:
        plain = _decode_all(path, _KEPT) + mark + _decode_all(query, _KEPT_IN_QUERY)
    except ValueError:
        return None
    if _TWICE.search(plain) or not (plain.isascii() or has_short_runs_of_marks(plain)):
        return None
    return unicodedata.normalize("NFC", plain)


def _upper(found: re.Match[str]) -> str:
    return found[0].upper()


def _decode_all(text: str, kept: dict[str, str]) -> str:
    """`text` with its escapes decoded except those in `kept`. Raises `ValueError` for one that is not allowed."""

    def decode(run: re.Match[str]) -> str:
        characters = bytes.fromhex(run[0].replace("%", "")).decode("utf-8")
        if _SEPARATORS.intersection(characters) or not is_displayable(characters):
            raise ValueError("an escape for a separator or a control character")
        return "".join(kept.get(character, character) for character in characters)

    return _ESCAPES.sub(decode, text)
