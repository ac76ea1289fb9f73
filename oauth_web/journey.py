"""The way to GitHub: noted under a `state` of our own, for `oauth_web.callback` to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response

from oauth_core.credentials import new_secret
from oauth_core.model import SignIn
from oauth_web.answers import NO_STORE
from oauth_web.standing import groups_that_matter

if TYPE_CHECKING:
    from oauth_core.model import PendingAuthorization
    from oauth_web.deps import Deps

_SEE_OTHER = 303


async def to_github(
    deps: Deps, pending: PendingAuthorization, *, remembers: bool = False, picks_account: bool = False
) -> Response:
    """Send the browser to GitHub; its account picker comes first if `picks_account`."""
    state, code_verifier = new_secret(), new_secret()
    await deps.authorizations.add_sign_in(state, SignIn(pending, code_verifier, remembers))
    location = deps.github.sign_in_url(
        state=state,
        code_verifier=code_verifier,
        with_groups=bool(groups_that_matter(deps)),
        picks_account=picks_account,
    )
    return Response(b"", _SEE_OTHER, {**NO_STORE, "Location": location})
