"""The permissions of a registration access token for its client's own registration (row R17 of the security
model).

The permissions are in the client's record, so an operator who reduces them also restricts tokens issued long ago.
They come from the settings where registration is open, or from the operator's initial access token (RFC 7591
section 3).
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
    """`names` in the usual order, each once. Raises `ValueError` for a name that is no such permission."""
    requested = frozenset(names)
    if not requested <= frozenset(ALL):
        # The message leaves out the value: a secret in the wrong variable must not appear in a log.
        raise ValueError(f"names must be among {', '.join(ALL)}")
    return tuple(name for name in ALL if name in requested)


def require(client: Client, permission: str) -> None:
    """Pass when `client` has this permission for its registration; else raise `DisplayedError`, 403.

    Called only after the token is verified: a caller without a token learns nothing here.
    """
    if permission not in client.registration_permissions:
        raise refused(OAuthReason.REGISTRATION_PERMISSION_MISSING, permission=permission)
