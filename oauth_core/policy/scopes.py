"""Scopes in the form of the protocol: one string of words, separated by spaces (RFC 6749 section 3.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.policy.permissions import implied_by
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import Service

_LONGEST = 4096
_TOKEN_CHARACTERS = frozenset(map(chr, (0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))))

OFFLINE_ACCESS = "offline_access"
"""Clients request it to get a refresh token (OpenID Connect Core section 11). They get one anyway."""


def parse(text: str | None) -> tuple[str, ...]:
    """The distinct scopes of `text`, in their order; empty when there is none.

    Raises `DisplayedError` (`invalid_scope`) for a text that is too long, or a character no scope may contain.
    """
    if not text:
        return ()
    if len(text) > _LONGEST:
        raise refused(OAuthReason.SCOPE_TOO_LONG)
    words = tuple(dict.fromkeys(word for word in text.split(" ") if word))
    if any(not _TOKEN_CHARACTERS.issuperset(word) for word in words):
        raise refused(OAuthReason.SCOPE_CHARACTERS)
    return words


def fit(text: str) -> tuple[str, ...]:
    """The distinct words of `text` that can be scopes, in order, for a text of any length."""
    words = dict.fromkeys(word for word in text.split(" ") if word)
    return tuple(word for word in words if _TOKEN_CHARACTERS.issuperset(word))


def join(scopes: Iterable[str]) -> str:
    """The `scope` parameter for `scopes`."""
    return " ".join(scopes)


def of_service(service: Service) -> tuple[str, ...]:
    """The scopes that concern `service`: its own, its permissions, and the bundles that contain these."""
    bundles = (name for permission in service.named_permissions for name in implied_by(permission))
    return tuple(dict.fromkeys((service.scope, *bundles)))
