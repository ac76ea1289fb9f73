"""The form of a signed-in person's own page: it carries the token of the session whose page shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused
from oauth_web.http.cookies import comes_from_our_page
from oauth_web.http.responses import form_parameters
from oauth_web.login import browser_session

if TYPE_CHECKING:
    from oauth_core.parameters import Parameters
    from oauth_web.login.browser_session import SignedInBrowser
    from oauth_web.runtime.deps import Deps


async def own_form(deps: Deps) -> tuple[SignedInBrowser, Parameters]:
    """The session and the form of this request. Raises `DisplayedError` if the form is of another session."""
    form = await form_parameters()
    form.check_unique()
    signed_in = await browser_session.current(deps)
    if signed_in is None:
        raise refused(OAuthReason.SIGNED_OUT)
    if not signed_in.form_token_matches(form.get("form_token")) or not comes_from_our_page(
        deps.settings.issuer, has_secret=True
    ):
        deps.audit.record(OAuthReason.ACCOUNT_FORM_CROSS_SITE.event, user=signed_in.user)
        raise refused(OAuthReason.ACCOUNT_FORM_CROSS_SITE)
    return signed_in, form
