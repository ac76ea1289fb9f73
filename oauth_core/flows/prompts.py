"""The `prompt` parameter of an authorization request (OpenID Connect Core section 3.1.2.1).

Clients send it although this server is no OpenID provider. Unknown values are ignored.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.model import AuthorizationRequest
    from oauth_core.parameters import Parameters


class Prompt(StrEnum):
    """One value of `prompt`."""

    NONE = "none"
    LOGIN = "login"
    CONSENT = "consent"
    SELECT_ACCOUNT = "select_account"


_KNOWN = frozenset(Prompt)


def parse_prompt(parameters: Parameters, request: AuthorizationRequest) -> frozenset[Prompt]:
    """The known values in this request. Raises `RedirectedError` for `none` together with another value."""
    words = frozenset((parameters.get("prompt") or "").split())
    if Prompt.NONE in words and len(words) > 1:
        raise refused(OAuthReason.PROMPT_CONTRADICTS).redirected_to(request.redirect_uri, request.state)
    return frozenset(Prompt(word) for word in words & _KNOWN)
