"""`/callback`: GitHub redirects the browser here; the gateway identifies the person and checks eligibility."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core.audit import EventKind
from oauth_core.flows.notices import NoticeKind
from oauth_core.refusals import OAuthReason, refused
from oauth_web.guards import repeated_requests
from oauth_web.http.cookies import BrowserCookie, without_cookie
from oauth_web.http.errors import show_as_pages
from oauth_web.http.responses import query_parameters
from oauth_web.login import browser_session, completion, membership, redirect, sso
from oauth_web.login.eligibility import Member, NotEligibleError, check_eligibility
from oauth_web.login_providers.github import GitHubRefusedError, GitHubUnavailableError, MissingScopeError
from oauth_web.runtime.ended_grants import here

if TYPE_CHECKING:
    from oauth_core.errors import DisplayedError
    from oauth_core.model import User
    from oauth_core.parameters import Parameters
    from oauth_web.login.completion import SignInRequest
    from oauth_web.login_providers.github import SignedIn
    from oauth_web.runtime.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/callback`."""
    bp = Blueprint("callback", __name__)
    cookie = BrowserCookie(deps.settings)
    show_as_pages(bp, issuer=deps.settings.issuer)

    @bp.get("/callback")
    async def callback() -> Response:
        parameters = query_parameters()
        parameters.check_unique()
        state = parameters.require("state")
        sign_in = await deps.authorizations.sign_in(state)
        if sign_in is None:
            answer = await repeated_requests.stored_response(deps, state, cookie.read_secret())
        elif cookie.belongs_to(sign_in.pending.browser_hash):
            finish = partial(_finished, deps, state, parameters)
            answer = await repeated_requests.run_once(deps, state, cookie.read_secret(), finish)
        else:
            # The state is used up here too: a state in another browser has leaked.
            await deps.authorizations.take_sign_in(state)
            answer = None
        if answer is None:
            raise _unknown(deps) if cookie.read_secret() else without_cookie(deps.settings.issuer)
        return answer

    return bp


async def _finished(deps: Deps, state: str, parameters: Parameters) -> Response:
    """Complete the sign-in that comes back from GitHub. Raises `OAuthError`."""
    sign_in = await deps.authorizations.take_sign_in(state)
    if sign_in is None:
        raise _unknown(deps)
    sign_in_request, allowed_at = sign_in.pending.request, deps.clock()
    try:
        signed_in = await _signed_in(deps, state, parameters)
        eligibility = await check_eligibility(deps, signed_in)
    except NotEligibleError as error:
        _audit_user(deps, EventKind.SIGN_IN_REFUSED, error.user, sign_in_request, str(error))
        await membership.end_everything(deps, error.user, str(error))
        return await completion.reject_sign_in(
            deps, sign_in_request, refused(OAuthReason.PERSON_NOT_ELIGIBLE, login=error.user.login)
        )
    except GitHubRefusedError as error:
        _audit_failure(deps, sign_in_request, f"GitHub refused: {error}")
        # The answer repeats no text from GitHub.
        is_scope = isinstance(error, MissingScopeError)
        reason = OAuthReason.MEMBERSHIPS_NOT_SHOWN if is_scope else OAuthReason.SIGN_IN_NOT_CONFIRMED
        return await completion.reject_sign_in(deps, sign_in_request, refused(reason))
    except GitHubUnavailableError as error:
        _audit_failure(deps, sign_in_request, f"GitHub unavailable: {error}")
        raise completion.retry_later_error(sign_in_request, refused(OAuthReason.GITHUB_UNREACHABLE)) from None
    _audit_user(deps, EventKind.SIGN_IN_SUCCEEDED, signed_in.user, sign_in_request, None)
    await membership.update_everything(deps, Member(signed_in.user, eligibility.groups))
    answer = await completion.complete_sign_in(
        deps, sign_in_request, signed_in.user, eligibility, allowed_at=allowed_at
    )
    if sign_in.remembers:
        await sso.store_consent(
            deps, sign_in_request, sign_in.pending.client_fingerprint, signed_in.user, allowed_at=allowed_at
        )
    await browser_session.begin(deps, signed_in.user, eligibility, at=allowed_at, answer=answer)
    await deps.notices.add(signed_in.user.github_id, here(NoticeKind.SIGNED_IN, deps.clock))
    return answer


def _unknown(deps: Deps) -> DisplayedError:
    deps.audit.record(OAuthReason.SIGN_IN_UNKNOWN.event, reason="state unknown or of another browser")
    return refused(OAuthReason.SIGN_IN_UNKNOWN)


async def _signed_in(deps: Deps, state: str, parameters: Parameters) -> SignedIn:
    """The person that GitHub confirms. Raises `GitHubRefusedError` and `GitHubUnavailableError`."""
    code = parameters.get("code")
    if code is None:
        raise GitHubRefusedError(parameters.get("error") or "no code came back")
    return await deps.github.sign_in(code=code, code_verifier=redirect.code_verifier(deps, state))


def _audit_failure(deps: Deps, sign_in_request: SignInRequest, reason: str) -> None:
    deps.audit.record(EventKind.SIGN_IN_FAILED, reason=reason, client_id=completion.client_of(sign_in_request))


def _audit_user(
    deps: Deps, kind: EventKind, user: User, sign_in_request: SignInRequest, reason: str | None
) -> None:
    deps.audit.record(kind, reason=reason, client_id=completion.client_of(sign_in_request), user=user)
