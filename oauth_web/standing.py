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
    from oauth_core.model import Grant, User
    from oauth_web.deps import Deps
    from oauth_web.github import SignedIn

_CONTEXT = "portcullis github token"


class NotAdmittedError(Exception):
    """This user may not use the gateway. The message is for the audit log."""


async def admit(deps: Deps, signed_in: SignedIn, grant_id: str) -> str | None:
    """Let `signed_in` in; answers their GitHub token sealed for `grant_id` where it will be needed again.

    Raises `NotAdmittedError`, `GitHubRefusedError` and `GitHubUnavailableError`.
    """
    admission = deps.settings.admission
    if admission.admits_by_name(signed_in.user):
        return None
    await _check_memberships(deps, signed_in.user, signed_in.token)
    sealed = seal(signed_in.token.encode(), deps.settings.master_key_bytes, context=f"{_CONTEXT} {grant_id}")
    return base64.b64encode(sealed).decode()


async def check_still_admitted(deps: Deps, grant: Grant) -> None:
    """Pass when the user of `grant` may still be here.

    Raises `NotAdmittedError` when not, and `DisplayedError` (503) when GitHub cannot be asked: an outage there
    must not sign anybody out.
    """
    if deps.settings.admission.admits_by_name(grant.user):
        return
    if grant.sealed_github_token is None:
        raise NotAdmittedError("no longer on the list of allowed users")
    try:
        token = unseal(
            base64.b64decode(grant.sealed_github_token),
            deps.settings.master_key_bytes,
            context=f"{_CONTEXT} {grant.grant_id}",
        ).decode()
        await _check_memberships(deps, grant.user, token)
    except (UnsealError, binascii.Error):
        raise NotAdmittedError("the kept GitHub token cannot be opened") from None
    except GitHubRefusedError as error:
        raise NotAdmittedError(f"GitHub refused: {error}") from None
    except GitHubUnavailableError:
        raise DisplayedError(
            ErrorCode.TEMPORARILY_UNAVAILABLE, "GitHub cannot be reached; try again in a moment", status=503
        ) from None


async def _check_memberships(deps: Deps, user: User, token: str) -> None:
    admission = deps.settings.admission
    if not admission.asks_for_memberships:
        raise NotAdmittedError("not on the list of allowed users")
    if not admission.admits_by_membership(await deps.github.memberships(token, user, admission)):
        raise NotAdmittedError("not on the list of allowed users, and in none of the organisations and teams")
