"""The binding of a token: to a certificate (RFC 8705 section 3.1), a key (RFC 9449 section 6.1), both, or neither.

The claim `cnf` contains it. A party that has only the token, and not the bound key, cannot use it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_CERTIFICATE, _KEY = "x5t#S256", "jkt"
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class Confirmation(NamedTuple):
    """Thumbprints, each `None` without such a binding.

    See `oauth_core.jose.certificate_thumbprints` and `oauth_core.jose.dpop`.
    """

    certificate: str | None = None
    dpop_key: str | None = None


def cnf_claim(certificate: str | None, dpop_key: str | None) -> dict[str, dict[str, str]]:
    """Return the claim `cnf` by its name; an empty dictionary for an unbound token."""
    members = {_CERTIFICATE: certificate, _KEY: dpop_key}
    present = {name: value for name, value in members.items() if value is not None}
    return {"cnf": present} if present else {}


def parse_cnf(claim: object) -> Confirmation:
    """Return the binding in a claim `cnf`; `None` is no claim.

    Raises `ValueError` for any other value: a token with an unknown binding must not pass as unbound.
    """
    if claim is None:
        return Confirmation()
    if not isinstance(claim, dict) or not claim or not claim.keys() <= {_CERTIFICATE, _KEY}:
        raise ValueError("cnf names something that is not understood, or nothing")
    if not all(is_thumbprint(value) for value in claim.values()):
        raise ValueError("cnf has something that is no thumbprint")
    return Confirmation(claim.get(_CERTIFICATE), claim.get(_KEY))


def is_thumbprint(value: object) -> bool:
    """Return whether `value` has the form of a SHA-256 in base64url."""
    return isinstance(value, str) and _THUMBPRINT.match(value) is not None
