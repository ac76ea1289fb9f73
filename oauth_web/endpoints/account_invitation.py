"""An initial access token from the account page, for people who have the permission to register a client.

The page offers it only where registration needs one (`client_registration = "token"`). The offer depends on the
groups stored in the session; before the token is issued, the groups are checked again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import render_template

from oauth_core.audit import EventKind
from oauth_core.clients import initial_access_tokens
from oauth_core.limits.rate_limits import Limit
from oauth_core.policy.permissions import CLIENT_REGISTER
from oauth_core.refusals import OAuthReason, refused
from oauth_web.guards.rate_limiting import enforce_limit
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
    """Whether `user` in `groups` may have such a token, and registration needs one."""
    permissions = deps.policy.current.permissions_of(user.login, user.github_id, groups)
    return deps.settings.client_registration == "token" and permissions.allows(CLIENT_REGISTER)


async def render(deps: Deps, browser: SignedInBrowser) -> str:
    """The page that shows the user of the session a new token, once. Raises `DisplayedError`."""
    text = await _issue(deps, browser)
    return await render_template("registration_token.html", token=text, days=_DAYS, issuer=deps.settings.issuer)


async def _issue(deps: Deps, browser: SignedInBrowser) -> str:
    user = browser.user
    await enforce_limit(deps, Limit.SIGN_INS_PER_USER, str(user.github_id))
    try:
        eligibility = await current_eligibility(deps, browser)
    except NotEligibleError:
        raise refused(OAuthReason.NO_INVITATIONS, login=user.login) from None
    if not is_offered(deps, user, eligibility.groups):
        raise refused(OAuthReason.NO_INVITATIONS, login=user.login)
    issued = initial_access_tokens.new_token(
        now=browser.seen_at,
        lifetime=_DAYS * _DAY,
        uses=_USES,
        registration_permissions=deps.settings.client_registration_permissions,
        issued_to=user,
    )
    await deps.audit.intend(EventKind.INITIAL_ACCESS_TOKEN_ISSUED, user=user, key=issued.token.token_id)
    await deps.initial_access_tokens.add(issued)
    deps.audit.record(
        EventKind.INITIAL_ACCESS_TOKEN_ISSUED,
        user=user,
        key=issued.token.token_id,
        scope=" ".join(issued.token.registration_permissions),
    )
    return issued.text
