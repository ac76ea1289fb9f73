"""What somebody who is signed in here gets without a trip to GitHub, and what they need not be asked again."""

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
    """Give `asked` its answer as the user of the session, if they may still be here.

    GitHub being away decides nothing and ends nothing. Raises what `endings` raises.
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
    """What holds of the user of the session at this moment.

    Raises `NotEligibleError` when they may not be here, and then everything that they hold has ended, and
    `DisplayedError` (503) when GitHub cannot say.
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


async def need_not_be_asked(
    deps: Deps, asked: AuthorizationRequest, client: Client, browser: SignedInBrowser
) -> bool:
    """Whether the user of the session said before that they do not want to be asked about this."""
    if not deps.settings.remembered_consent_lifetime or not consents.may_be_remembered(asked):
        return False
    known = await deps.consents.get(browser.user.github_id, asked.client_id)
    return consents.covers(known, asked, consents.fingerprint(client), now=deps.clock())


async def remember(deps: Deps, asked: Asked, client_fingerprint: str, user: User, *, allowed_at: int) -> None:
    """Do not ask `user` again about what they allowed then, where that may be remembered at all."""
    lifetime = deps.settings.remembered_consent_lifetime
    if not lifetime or not isinstance(asked, AuthorizationRequest) or not consents.may_be_remembered(asked):
        return
    known = await deps.consents.get(user.github_id, asked.client_id)
    consent = consents.remember(asked, client_fingerprint, known, now=allowed_at, lifetime=lifetime)
    await deps.consents.keep(user.github_id, consent)
