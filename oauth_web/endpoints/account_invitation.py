"""Leave to register a client for people who have the permission: an initial access token, from their account page.

Only where registering needs one at all (`client_registration = "token"`). What the session remembers of its user's
groups decides whether the page offers it; whether it is given is asked anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import render_template

from oauth_core.audit import EventKind
from oauth_core.clients import initial_access_tokens
from oauth_core.limits.rate_limits import Limit
from oauth_core.policy.permissions import CLIENT_REGISTER
from oauth_core.refusals import OAuthReason, refused
from oauth_web.guards.rate_limiting import hold_back
from oauth_web.login.eligibility import NotEligibleError
from oauth_web.login.sso import current_eligibility

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import User
    from oauth_web.login.browser_session import SignedInBrowser
    from oauth_web.runtime.deps import Deps

_DAYS = 7
_USES = 1
_DAY = 86_400


def is_offered(deps: Deps, user: User, groups: Iterable[str]) -> bool:
    """Whether somebody in `groups` may have such a token, and it is good for something."""
    permissions = deps.policy.current.permissions_of(user.login, user.github_id, groups)
    return deps.settings.client_registration == "token" and permissions.allows(CLIENT_REGISTER)


async def render(deps: Deps, browser: SignedInBrowser) -> str:
    """A page with a new token for the user of the session; nobody can see it again. Raises `DisplayedError`."""
    text = await _issue(deps, browser)
    return await render_template("registration_token.html", token=text, days=_DAYS, issuer=deps.settings.issuer)


async def _issue(deps: Deps, browser: SignedInBrowser) -> str:
    user = browser.user
    await hold_back(deps, Limit.SIGN_INS_PER_USER, str(user.github_id))
    try:
        eligibility = await current_eligibility(deps, browser)
    except NotEligibleError:
        raise refused(OAuthReason.NO_INVITATIONS, login=user.login) from None
    if not is_offered(deps, user, eligibility.groups):
        raise refused(OAuthReason.NO_INVITATIONS, login=user.login)
    issued = initial_access_tokens.make(
        now=browser.seen_at,
        lifetime=_DAYS * _DAY,
        uses=_USES,
        registration_permissions=deps.settings.client_registration_permissions,
        issued_to=user,
    )
    await deps.initial_access_tokens.add(issued)
    deps.audit.record(
        EventKind.INITIAL_ACCESS_TOKEN_ISSUED,
        user=user,
        key=issued.token.token_id,
        scope=" ".join(issued.token.registration_permissions),
    )
    return issued.text
