"""The refusal that a call ends in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.errors import OAuthError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(call: Callable[[], object]) -> OAuthError | None:
    """The protocol's error that `call` ends in, if it does; anything else it raises is raised."""
    try:
        call()
    except OAuthError as error:
        return error
    return None
