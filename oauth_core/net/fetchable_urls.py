"""URLs of unknown callers that the gateway fetches: one form, without parts that two parsers read differently."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from oauth_core.net import public_urls

_LONGEST = 2048
_HOST = r"(?:[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?"
_PLAIN = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})"
_URL = re.compile(rf"https?://{_HOST}(?P<path>/{_PLAIN}+)(?:\?(?:{_PLAIN}|\?)*)?\Z")
# Servers differ in how they read an escaped dot, slash, backslash or control character.
_AMBIGUOUS = re.compile(r"%(?:2[eEfF]|5[cC]|[01][0-9A-Fa-f]|7[fF])")


def check(url: str, *, what: str, loopback: bool) -> str:
    """Return `url` when it is https, has a path, and can be compared byte for byte and fetched.

    `loopback` allows http on this machine. Raises `ValueError` in words for the client's developer, where the URL
    is called `what`.
    """
    if len(url) > _LONGEST:
        raise ValueError(f"{what} may have at most {_LONGEST} characters")
    found = _URL.match(url)
    if found is None:
        raise ValueError(
            f"{what} must be an https URL with a lower-case host and a path, and without user name, fragment or "
            "characters that a URL may not have"
        )
    path = found["path"]
    if _AMBIGUOUS.search(path) or {".", ".."} & set(path.split("/")) or "//" in path:
        raise ValueError(f"the path of {what} must not have dot segments, empty segments or escaped slashes")
    # The same document is fetched with and without the mark, so it would be a second form of the same URL.
    if url.endswith("?"):
        raise ValueError(f"{what} must not end in an empty query")
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"{what} is not a URL") from None
    if parts.scheme == "http" and not (loopback and public_urls.is_loopback(url)):
        raise ValueError(f"{what} must use https")
    return url
