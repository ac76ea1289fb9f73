"""The refusal that a call raises."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.errors import OAuthError

if TYPE_CHECKING:
    from collections.abc import Callable


def refusal(call: Callable[[], object]) -> OAuthError | None:
    """The protocol error that `call` raises, or `None`. Any other error is raised."""
    try:
        call()
    except OAuthError as error:
        return error
    return None
