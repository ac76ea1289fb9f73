"""Whether somebody may be here: asked when they sign in, and again at every refresh.

A grant outlives the day on which its user left. So the rule is applied anew each time a client refreshes: a user
taken off the list, out of the organisation or out of the team loses the grant then, half an hour later at most.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.sealing import UnsealError, seal, unseal
from oauth_web.github import GitHubRefusedError, GitHubUnavailableError

if TYPE_CHECKING:
    from oauth_core.model import User
    from oauth_web.deps import Deps
    from oauth_web.github import SignedIn


class NotAdmittedError(Exception):
    """`user` may not use the gateway. The message is for the audit log."""

    def __init__(self, user: User, reason: str) -> None:
        super().__init__(reason)
        self.user = user


async def admit(deps: Deps, signed_in: SignedIn) -> str | None:
    """Let `signed_in` in; answers their GitHub token, sealed, where it will be needed again.

    Raises `NotAdmittedError`, `GitHubRefusedError` and `GitHubUnavailableError`.
    """
    user = signed_in.user
    if deps.settings.admission.admits_by_name(user):
        return None
    await _check_memberships(deps, user, signed_in.token)
    sealed = seal(signed_in.token.encode(), deps.settings.master_key_bytes, context=_context(user))
    return base64.b64encode(sealed).decode()


async def check_still_admitted(deps: Deps, user: User, sealed_github_token: str | None) -> None:
    """Pass when the user of a grant may still be here.

    Raises `NotAdmittedError` when not, and `DisplayedError` (503) when GitHub cannot be asked: an outage there
    must not sign anybody out.
    """
    if deps.settings.admission.admits_by_name(user):
        return
    if sealed_github_token is None:
        raise NotAdmittedError(user, "no longer on the list of allowed users")
    try:
        sealed = base64.b64decode(sealed_github_token)
        token = unseal(sealed, deps.settings.master_key_bytes, context=_context(user)).decode()
        await _check_memberships(deps, user, token)
    except (UnsealError, binascii.Error):
        raise NotAdmittedError(user, "the kept GitHub token cannot be opened") from None
    except GitHubRefusedError as error:
        raise NotAdmittedError(user, f"GitHub refused: {error}") from None
    except GitHubUnavailableError:
        raise DisplayedError(
            ErrorCode.TEMPORARILY_UNAVAILABLE, "GitHub cannot be reached; try again in a moment", status=503
        ) from None


async def _check_memberships(deps: Deps, user: User, token: str) -> None:
    admission = deps.settings.admission
    if not admission.asks_for_memberships:
        raise NotAdmittedError(user, "not on the list of allowed users")
    if not admission.admits_by_membership(await deps.github.memberships(token, user, admission)):
        raise NotAdmittedError(
            user, "not on the list of allowed users, and in none of the organisations and teams"
        )


def _context(user: User) -> str:
    """Ties a sealed token to its user, so that it opens in nobody else's grant."""
    return f"portcullis github token {user.github_id}"
