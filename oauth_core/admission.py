"""Who may sign in. Nobody, unless the operator said so."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import User

ANYBODY = "*"


def is_admitted(user: User, allowed_users: Iterable[str]) -> bool:
    """Whether `user` is on the list. `*` admits everybody, an empty list nobody; case does not matter.

    GitHub logins are ASCII and compared without case by GitHub itself.
    """
    login = user.login.lower()
    return any(entry in {ANYBODY, login} for entry in (name.lower() for name in allowed_users))
