"""What a token is bound to: a certificate (RFC 8705 section 3.1), a key (RFC 9449 section 6.1), both, or nothing.

The claim `cnf` says so. Whoever has the token and not what it is bound to has nothing.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CERTIFICATE, _KEY = "x5t#S256", "jkt"
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class Binding(NamedTuple):
    """Thumbprints, `None` where it is bound to no such thing: see
    `oauth_core.jose.certificate_thumbprints`, `oauth_core.jose.dpop`.
    """

    certificate: str | None = None
    dpop_key: str | None = None


def claims_payload(certificate: str | None, dpop_key: str | None) -> dict[str, dict[str, str]]:
    """The claim `cnf` by its name; nothing for what is not bound."""
    members = {_CERTIFICATE: certificate, _KEY: dpop_key}
    present = {name: value for name, value in members.items() if value is not None}
    return {"cnf": present} if present else {}


def read(claim: object) -> Binding:
    """What a claim `cnf` says; `None` is no claim.

    Raises `ValueError` for any other: a token bound in a way that we cannot check must not pass as unbound.
    """
    if claim is None:
        return Binding()
    if not isinstance(claim, dict) or not claim or not claim.keys() <= {_CERTIFICATE, _KEY}:
        raise ValueError("cnf names something that is not understood, or nothing")
    if not all(is_thumbprint(value) for value in claim.values()):
        raise ValueError("cnf has something that is no thumbprint")
    return Binding(claim.get(_CERTIFICATE), claim.get(_KEY))


def is_thumbprint(value: object) -> bool:
    """Whether `value` is spelled like a SHA-256 in base64url."""
    return isinstance(value, str) and _THUMBPRINT.match(value) is not None
