"""`/account`: a signed-in person sees which apps act for them, and disconnects the ones they no longer want.

Every form carries the token of the session whose page shows it. So neither another site nor a page of an earlier
session can send it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import hash_secret
from oauth_core.flows.notices import NoticeKind
from oauth_core.limits.rate_limits import Limit
from oauth_core.model import AccountVisit, PendingAuthorization
from oauth_core.net.public_urls import path_of
from oauth_core.refusals import OAuthReason, refused
from oauth_web.endpoints import account_invitation, account_page
from oauth_web.guards import recording, sign_in_pause
from oauth_web.guards.rate_limiting import enforce_address_limit
from oauth_web.http.cookies import BrowserCookie, comes_from_our_page
from oauth_web.http.errors import show_as_pages
from oauth_web.http.responses import page_answer, query_parameters, see_other
from oauth_web.login import browser_session, redirect
from oauth_web.login.own_form import own_form
from oauth_web.runtime import ended_grants

if TYPE_CHECKING:
    from oauth_core.model import User
    from oauth_web.runtime.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints at and below `/account`."""
    bp = Blueprint("account", __name__)
    cookie = BrowserCookie(deps.settings)
    show_as_pages(bp, issuer=deps.settings.issuer)

    @bp.get("/account")
    async def show() -> Response:
        done = query_parameters().get("done")
        signed_in = await browser_session.current(deps)
        if signed_in is None:
            offered = bool(deps.settings.session_lifetime)
            return page_answer(await render_template("signed_out.html", offered=offered, done=done))
        return page_answer(await account_page.render(deps, signed_in, done=done))

    @bp.post("/account/sign-in")
    async def sign_in() -> Response:
        if not comes_from_our_page(deps.settings.issuer) or not deps.settings.session_lifetime:
            raise refused(OAuthReason.ACCOUNT_FORM_CROSS_SITE)
        await _check_may_start(deps)
        await enforce_address_limit(deps, Limit.AUTHORIZATIONS_PER_ADDRESS)
        browser = cookie.value()
        answer = await redirect.to_github(deps, PendingAuthorization(AccountVisit(), hash_secret(browser)))
        cookie.set_on(answer, browser)
        return answer

    @bp.post("/account/sign-out")
    async def sign_out() -> Response:
        signed_in, _ = await own_form(deps)
        answer = _back(deps, "signed-out")
        await browser_session.end(deps, signed_in, reason="signed out", answer=answer)
        return answer

    @bp.post("/account/sign-out-everywhere")
    async def sign_out_everywhere() -> Response:
        signed_in, _ = await own_form(deps)
        # This also voids codes that are not redeemed yet.
        revocation = deps.revocation.revoke_user(signed_in.user.github_id)
        await ended_grants.revoke_and_audit(
            deps,
            revocation,
            reason="signed out everywhere",
            notice=NoticeKind.APP_DISCONNECTED,
            user=signed_in.user,
        )
        answer = _back(deps, "signed-out-everywhere")
        await browser_session.end(deps, signed_in, reason="signed out everywhere", answer=answer)
        browser_session.drop_cookies(deps, answer)
        return answer

    @bp.post("/account/disconnect")
    async def disconnect() -> Response:
        signed_in, form = await own_form(deps)
        grant = await deps.grants.get(form.require("grant"))
        if grant is not None and grant.user is not None and grant.user.github_id == signed_in.user.github_id:
            await ended_grants.revoke_and_audit(
                deps,
                deps.revocation.disconnect(grant, deps.consents),
                reason="disconnected by the user",
                notice=NoticeKind.APP_DISCONNECTED,
                grant=grant,
            )
        # Another person's grant and an ended grant get the same answer, which reveals nothing.
        return _back(deps, "disconnected")

    @bp.post("/account/disconnect-all")
    async def disconnect_all() -> Response:
        signed_in, _ = await own_form(deps)
        # This also voids codes that are not redeemed yet.
        revocation = deps.revocation.revoke_clients_of_user(signed_in.user.github_id)
        await ended_grants.revoke_and_audit(
            deps,
            revocation,
            reason="disconnected by the user",
            notice=NoticeKind.APP_DISCONNECTED,
            user=signed_in.user,
        )
        return _back(deps, "all-disconnected")

    @bp.post("/account/forget")
    async def forget() -> Response:
        signed_in, form = await own_form(deps)
        await _forget(deps, signed_in.user, form.require("client"))
        return _back(deps, "forgotten")

    @bp.post("/account/forget-all")
    async def forget_all() -> Response:
        signed_in, _ = await own_form(deps)
        await _forget(deps, signed_in.user, None)
        return _back(deps, "all-forgotten")

    @bp.post("/account/registration-token")
    async def registration_token() -> Response:
        signed_in, _ = await own_form(deps)
        await _check_may_start(deps)
        return page_answer(await account_invitation.render(deps, signed_in))

    return bp


async def _check_may_start(deps: Deps) -> None:
    """Pass if forms that start something work now. Raises `DisplayedError`."""
    await sign_in_pause.check(deps)
    recording.check(deps)


async def _forget(deps: Deps, user: User, client_id: str | None) -> None:
    """Forget the remembered consent of `user` to a client, or to all clients, and record that."""
    await deps.audit.intend_to_end(EventKind.CONSENT_FORGOTTEN, client_id=client_id, user=user)
    if client_id is None:
        is_forgotten = await deps.consents.forget_all(user.github_id)
    else:
        is_forgotten = await deps.consents.forget(user.github_id, client_id)
    if is_forgotten:
        deps.audit.record(EventKind.CONSENT_FORGOTTEN, client_id=client_id, user=user)


def _back(deps: Deps, done: str) -> Response:
    return see_other(f"{path_of(deps.settings.issuer)}/account?done={done}")
