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
    from oauth_web.login.completion import Asked
    from oauth_web.runtime.deps import Deps


async def accept(deps: Deps, asked: Asked, browser: SignedInBrowser) -> Response:
    """Complete the request `asked` for the user of the session, if they are still eligible.

    An outage of GitHub decides nothing and ends nothing. Raises what `completion` raises.
    """
    try:
        eligibility = await current_eligibility(deps, browser, client_id=completion.client_of(asked))
    except NotEligibleError:
        return await completion.declined(
            deps, asked, refused(OAuthReason.PERSON_NOT_ELIGIBLE, login=browser.user.login)
        )
    except DisplayedError as error:
        raise completion.postponed(asked, error) from None
    return await completion.accepted(deps, asked, browser.user, eligibility, allowed_at=browser.seen_at)


async def current_eligibility(
    deps: Deps, browser: SignedInBrowser, *, client_id: str | None = None
) -> Eligibility:
    """The current eligibility of the user of the session.

    Raises `NotEligibleError` if the user is not eligible any more; before that, it ends all their grants and
    sessions. Raises `DisplayedError` (503) if GitHub does not answer.
    """
    user, kept = browser.user, browser.session.sealed_github_token
    try:
        member = await membership.look_again(deps, user, kept)
    except NotEligibleError as error:
        await browser_session.end(deps, browser, reason=str(error))
        deps.audit.record(EventKind.SIGN_IN_REFUSED, reason=str(error), client_id=client_id, user=user)
        raise
    if (member.user.login, member.groups) != (user.login, browser.session.groups):
        await membership.update_everything(deps, member)
    return Eligibility(member.groups, kept)


async def may_skip_consent(
    deps: Deps, asked: AuthorizationRequest, client: Client, browser: SignedInBrowser
) -> bool:
    """Whether a remembered consent of the user of the session covers this request."""
    if not deps.settings.remembered_consent_lifetime or not consents.may_be_remembered(asked):
        return False
    known = await deps.consents.get(browser.user.github_id, asked.client_id)
    return consents.covers(known, asked, consents.fingerprint(client), now=deps.clock())


async def remember(deps: Deps, asked: Asked, client_fingerprint: str, user: User, *, allowed_at: int) -> None:
    """Remember the consent of `user` to this request, if the settings and the request permit it."""
    lifetime = deps.settings.remembered_consent_lifetime
    if not lifetime or not isinstance(asked, AuthorizationRequest) or not consents.may_be_remembered(asked):
        return
    known = await deps.consents.get(user.github_id, asked.client_id)
    consent = consents.remember(asked, client_fingerprint, known, now=allowed_at, lifetime=lifetime)
    await deps.consents.store(user.github_id, consent)
