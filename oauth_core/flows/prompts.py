"""What a client may ask of the sign-in with `prompt` (OpenID Connect Core section 3.1.2.1).

Clients send it although we are no OpenID provider. Values that we do not know are left aside.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.model import AuthorizationRequest
    from oauth_core.parameters import Parameters


class Prompt(StrEnum):
    """One wish about what the user is to be asked."""

    NONE = "none"
    LOGIN = "login"
    CONSENT = "consent"
    SELECT_ACCOUNT = "select_account"


_KNOWN = frozenset(Prompt)


def read(parameters: Parameters, asked: AuthorizationRequest) -> frozenset[Prompt]:
    """The wishes of this request. Raises `RedirectedError` for `none` together with another one."""
    words = frozenset((parameters.get("prompt") or "").split())
    if Prompt.NONE in words and len(words) > 1:
        raise refused(OAuthReason.PROMPT_CONTRADICTS).redirected_to(asked.redirect_uri, asked.state)
    return frozenset(Prompt(word) for word in words & _KNOWN)
