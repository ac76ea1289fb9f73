"""The login redirect to GitHub. It is stored under a `state` of our own, which `oauth_web.endpoints.callback`
reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.crypto import base64url
from oauth_core.crypto.credentials import new_secret
from oauth_core.crypto.sealing import derive_key
from oauth_core.model import SignIn
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.responses import see_other
from oauth_web.login.eligibility import groups_that_matter

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import PendingAuthorization
    from oauth_web.runtime.deps import Deps


async def to_github(
    deps: Deps, pending: PendingAuthorization, *, remembers: bool = False, picks_account: bool = False
) -> Response:
    """Redirect the browser to GitHub; with `picks_account` GitHub shows its account picker first."""
    state = new_secret()
    await deps.authorizations.add_sign_in(state, SignIn(pending, remembers), caller=caller_address())
    location = deps.github.sign_in_url(
        state=state,
        code_verifier=code_verifier(deps, state),
        with_groups=bool(groups_that_matter(deps)),
        picks_account=picks_account,
    )
    return see_other(location)


def code_verifier(deps: Deps, state: str) -> str:
    """The PKCE verifier towards GitHub (RFC 7636) of the sign-in with this `state`.

    It is derived from the state and the master key, and is stored nowhere. Redis stores only the hash of the
    state, and the state, which passes through the browser, does not reveal the verifier without the key.
    """
    key = derive_key(deps.settings.master_key_bytes.hex(), purpose=f"portcullis github pkce {state}")
    return base64url.encode(key)
