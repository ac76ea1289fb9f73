"""Quotes addresses of the settings in error messages without secrets.

An operator can put a secret into the wrong variable, or a password into a URL, and error messages go into logs. So
they quote a value only if it is an address with a host, and only the part of it that cannot be a secret.
"""

from __future__ import annotations

import re
from ipaddress import ip_address

_SCHEMES = frozenset({"ftp", "http", "https", "redis", "rediss", "ws", "wss"})
_HOST_AND_PORT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_*.-]{1,253})(?P<port>:[0-9]{1,6})?(?=[/?#]|\Z)"
)
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}|\*")


def quoted(text: str) -> str:
    """Return the scheme, host and port of `text` in quotes, after a space; "" unless `text` is an address.

    This follows the name of a setting in a message. An address is `scheme://host` or `host:port`. A host is
    `localhost`, an IP address, or a name with a dot: a text without a dot may be a secret. User name, password,
    path, query and fragment are left out.
    """
    scheme, mark, rest = text.partition("://")
    if not mark:
        scheme, rest = "", text
    before, at, place = rest.rpartition("@")
    found = _HOST_AND_PORT.match(place)
    if found is None or not _is_host(found["host"]) or not (mark or found["port"]):
        return ""
    start = f"{scheme if scheme.lower() in _SCHEMES else '…'}{mark}" if mark else ""
    user = f"…{at}" if before else at
    end = "" if found.end() == len(place) else "…"
    return f" '{start}{user}{found[0]}{end}'"


def _is_host(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return len(labels) > 1 and all(_LABEL.fullmatch(label) for label in labels)
