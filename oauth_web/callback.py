"""`/callback`: GitHub sends the browser back here; we find out who it is and give the client its code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.credentials import new_identifier
from oauth_core.errors import DisplayedError, ErrorCode, RedirectedError
from oauth_core.model import AuthorizationCode
from oauth_web.answers import query_parameters, redirect_to_client
from oauth_web.browser import BrowserCookie
from oauth_web.errors import show_as_pages
from oauth_web.github import GitHubRefusedError, GitHubUnavailableError, MissingScopeError
from oauth_web.standing import NotAdmittedError, admit

if TYPE_CHECKING:
    from oauth_core.model import AuthorizationRequest, SignIn, User
    from oauth_core.parameters import Parameters
    from oauth_web.deps import Deps
    from oauth_web.github import SignedIn


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/callback`."""
    bp = Blueprint("callback", __name__)
    cookie = BrowserCookie(deps.settings)
    show_as_pages(bp, issuer=deps.settings.issuer)

    @bp.get("/callback")
    async def callback() -> Response:
        parameters = query_parameters()
        parameters.check_unique()
        sign_in = await deps.authorizations.take_sign_in(parameters.require("state"))
        # Taken even when the cookie is wrong: a state that showed up in a foreign browser has leaked.
        if sign_in is None or not cookie.belongs_to(sign_in.pending.browser_hash):
            deps.audit.record(AuditEvent(EventKind.SIGN_IN_FAILED, reason="state unknown or of another browser"))
            raise DisplayedError(
                ErrorCode.INVALID_REQUEST,
                "This sign-in was finished already, took too long, or began in another browser. "
                "Go back to the app and connect again.",
            )
        asked = sign_in.pending.request
        signed_in, grant_id, kept = await _signed_in_user(deps, sign_in, parameters)
        _audit_user(deps, EventKind.SIGN_IN_SUCCEEDED, signed_in.user, asked, None)
        code = await deps.codes.add(AuthorizationCode(grant_id, asked, signed_in.user, kept))
        return redirect_to_client(
            asked.redirect_uri, {"code": code, "state": asked.state}, issuer=deps.settings.issuer
        )

    return bp


async def _signed_in_user(deps: Deps, sign_in: SignIn, parameters: Parameters) -> tuple[SignedIn, str, str | None]:
    """Who GitHub says this is, if they may be here; the id of the grant to come, and their token if it is kept.

    Raises `RedirectedError`: the client learns that it failed, and the audit log why.
    """
    asked = sign_in.pending.request
    code = parameters.get("code")
    grant_id = new_identifier()
    try:
        if code is None:
            raise GitHubRefusedError(parameters.get("error") or "no code came back")
        signed_in = await deps.github.sign_in(code=code, code_verifier=sign_in.code_verifier)
        try:
            return signed_in, grant_id, await admit(deps, signed_in, grant_id)
        except NotAdmittedError as error:
            _audit_user(deps, EventKind.SIGN_IN_REFUSED, signed_in.user, asked, str(error))
            raise _redirected(
                asked, ErrorCode.ACCESS_DENIED, f"{signed_in.user.login} may not use this gateway"
            ) from None
    except GitHubRefusedError as error:
        _audit_failure(deps, asked, f"GitHub refused: {error}")
        # Only what we wrote ourselves is passed on.
        told = str(error) if isinstance(error, MissingScopeError) else "GitHub did not confirm the sign-in"
        raise _redirected(asked, ErrorCode.ACCESS_DENIED, told) from None
    except GitHubUnavailableError as error:
        _audit_failure(deps, asked, f"GitHub unavailable: {error}")
        raise _redirected(
            asked, ErrorCode.TEMPORARILY_UNAVAILABLE, "GitHub cannot be reached; try again in a moment"
        ) from None


def _redirected(asked: AuthorizationRequest, code: ErrorCode, description: str) -> RedirectedError:
    return RedirectedError(code, description, asked.redirect_uri, asked.state)


def _audit_failure(deps: Deps, asked: AuthorizationRequest, reason: str) -> None:
    deps.audit.record(AuditEvent(EventKind.SIGN_IN_FAILED, reason=reason, client_id=asked.client_id))


def _audit_user(deps: Deps, kind: EventKind, user: User, asked: AuthorizationRequest, reason: str | None) -> None:
    deps.audit.record(
        AuditEvent(kind, reason=reason, client_id=asked.client_id, user=user.login, user_id=user.github_id)
    )
