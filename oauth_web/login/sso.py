"""Single sign-on: a signed-in person needs no redirect to GitHub, and no consent page for a remembered consent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.errors import DisplayedError
from oauth_core.flows import consent as consents
from oauth_core.model import AuthorizationRequest
from oauth_core.refusals import OAuthReason, refused
from oauth_web.login import browser_session, completion, membership
from oauth_web.login.eligibility import Eligibility, NotEligibleError

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import Client, User
    from oauth_web.login.browser_session import SignedInBrowser
    from oauth_web.login.completion import SignInRequest
    from oauth_web.runtime.deps import Deps


async def complete_for_session(deps: Deps, sign_in_request: SignInRequest, browser: SignedInBrowser) -> Response:
    """Complete the request `sign_in_request` for the user of the session, if they are still eligible.

    An outage of GitHub decides nothing and ends nothing. Raises what `completion` raises.
    """
    try:
        eligibility = await current_eligibility(deps, browser, client_id=completion.client_of(sign_in_request))
    except NotEligibleError:
        return await completion.reject_sign_in(
            deps, sign_in_request, refused(OAuthReason.PERSON_NOT_ELIGIBLE, login=browser.user.login)
        )
    except DisplayedError as error:
        raise completion.retry_later_error(sign_in_request, error) from None
    return await completion.complete_sign_in(
        deps, sign_in_request, browser.user, eligibility, allowed_at=browser.seen_at
    )


async def current_eligibility(
    deps: Deps, browser: SignedInBrowser, *, client_id: str | None = None
) -> Eligibility:
    """The current eligibility of the user of the session.

    Raises `NotEligibleError` if the user is not eligible any more; before that, it ends all their grants and
    sessions. Raises `DisplayedError` (503) if GitHub does not answer.
    """
    user, kept = browser.user, browser.session.sealed_github_token
    try:
        member = await membership.recheck_membership(deps, user, kept)
    except NotEligibleError as error:
        await browser_session.end(deps, browser, reason=str(error))
        deps.audit.record(EventKind.SIGN_IN_REFUSED, reason=str(error), client_id=client_id, user=user)
        raise
    if (member.user.login, member.groups) != (user.login, browser.session.groups):
        await membership.update_everything(deps, member)
    return Eligibility(member.groups, kept)


async def may_skip_consent(
    deps: Deps, sign_in_request: AuthorizationRequest, client: Client, browser: SignedInBrowser
) -> bool:
    """Whether a remembered consent of the user of the session covers this request."""
    if not deps.settings.remembered_consent_lifetime or not consents.may_be_remembered(sign_in_request):
        return False
    known = await deps.consents.get(browser.user.github_id, sign_in_request.client_id)
    return consents.covers(known, sign_in_request, consents.fingerprint(client), now=deps.clock())


async def store_consent(
    deps: Deps, sign_in_request: SignInRequest, client_fingerprint: str, user: User, *, allowed_at: int
) -> None:
    """Remember the consent of `user` to this request, if the settings and the request permit it."""
    lifetime = deps.settings.remembered_consent_lifetime
    if (
        not lifetime
        or not isinstance(sign_in_request, AuthorizationRequest)
        or not consents.may_be_remembered(sign_in_request)
    ):
        return
    known = await deps.consents.get(user.github_id, sign_in_request.client_id)
    consent = consents.remember(sign_in_request, client_fingerprint, known, now=allowed_at, lifetime=lifetime)
    await deps.consents.store(user.github_id, consent)
