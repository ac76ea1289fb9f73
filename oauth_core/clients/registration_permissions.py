"""What a registration access token lets its client do with its own registration (row R17 of the security model).

The permissions belong to the client's record, so an operator who narrows them narrows tokens that are long out.
They come from whoever let the client in: the settings where registration is open, or the operator's initial access
token (RFC 7591 section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import Client

READ = "registration.read"
WRITE = "registration.write"
DELETE = "registration.delete"
ALL = (READ, WRITE, DELETE)


def check_names(names: Iterable[str]) -> tuple[str, ...]:
    """`names` in their usual order, each once. Raises `ValueError` when one is no such permission."""
    asked = frozenset(names)
    if not asked <= frozenset(ALL):
        # Without what was given: a secret in the wrong variable must not end in a log.
        raise ValueError(f"names must be among {', '.join(ALL)}")
    return tuple(name for name in ALL if name in asked)


def require(client: Client, permission: str) -> None:
    """Pass when `client` may do this with its registration; else raise `DisplayedError`, 403.

    Asked only after the token has proved to be the client's: whoever has no token learns nothing here.
    """
    if permission not in client.registration_permissions:
        raise refused(OAuthReason.REGISTRATION_PERMISSION_MISSING, permission=permission)
