"""Request parameters as the protocol defines them: each at most once, and an empty one counts as absent.

Both rules are in RFC 6749 sections 3.1 and 3.2. Only `resource` may repeat (RFC 8707 section 2).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_REPEATABLE = frozenset({"resource"})
_LONGEST = 4096
_LONGEST_OF = {"client_assertion": 16_384, "assertion": 16_384, "token": 16_384}
"""Maximum characters of parameters that may be a JWT with certificates, groups or an issuer's claims in it."""
_MOST_RESOURCES = 20
_MOST_FIELDS = 100
_ORDINARY_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")


class Parameters:
    """The parameters of one request, from its query or its form."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if value:
                self._values.setdefault(name, []).append(value)

    @classmethod
    def decode(cls, encoded: bytes) -> Parameters:
        """Read a query or a form (`application/x-www-form-urlencoded`). Raises `DisplayedError`."""
        try:
            return cls(parse_qsl(encoded.decode("ascii"), errors="strict", max_num_fields=_MOST_FIELDS))
        except ValueError:
            raise refused(OAuthReason.PARAMETERS_MALFORMED) from None

    def get(self, name: str) -> str | None:
        """The value of `name`, or `None`. Raises `DisplayedError` when it was sent twice or is too long."""
        values = self._values.get(name, [])
        if not values:
            return None
        if len(values) > 1 and name not in _REPEATABLE:
            raise refused(OAuthReason.PARAMETER_REPEATED, name=_displayed_name(name))
        longest = _LONGEST_OF.get(name, _LONGEST)
        if len(values[0]) > longest:
            raise refused(OAuthReason.PARAMETER_TOO_LONG, name=_displayed_name(name), longest=longest)
        if "\x00" in values[0]:
            raise refused(OAuthReason.PARAMETER_WITH_NUL, name=_displayed_name(name))
        return values[0]

    def require(self, name: str) -> str:
        """The value of `name`. Raises `DisplayedError`, also when it is missing."""
        value = self.get(name)
        if value is None:
            raise refused(OAuthReason.PARAMETER_MISSING, name=name)
        return value

    def all(self, name: str) -> tuple[str, ...]:
        """Every distinct value of a parameter that may repeat."""
        values = tuple(dict.fromkeys(self._values.get(name, ())))
        if len(values) > _MOST_RESOURCES or any(len(value) > _LONGEST for value in values):
            raise refused(OAuthReason.PARAMETER_TOO_OFTEN, name=name)
        return values

    def check_unique(self) -> None:
        """Raise `DisplayedError` when any parameter that must not repeat does."""
        for name in self._values:
            self.get(name)


def _displayed_name(name: str) -> str:
    """`name` in a form for a description: the caller chose it, and some characters are not allowed there."""
    return name if _ORDINARY_NAME.match(name) else "a parameter"
