"""`/authorize`: a client asks, and the answer to the consent page, for clients and devices alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core import authorization
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.credentials import new_secret
from oauth_core.errors import DisplayedError, ErrorCode, OAuthError
from oauth_core.model import SignIn
from oauth_web import consent, endings
from oauth_web.answers import NO_STORE, form_parameters, query_parameters
from oauth_web.browser import BrowserCookie, comes_from_our_page
from oauth_web.errors import show_as_pages
from oauth_web.standing import groups_that_matter

if TYPE_CHECKING:
    from oauth_web.deps import Deps

_SEE_OTHER = 303


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints at and below `/authorize`."""
    bp = Blueprint("authorize", __name__)
    settings = deps.settings
    cookie = BrowserCookie(settings)
    show_as_pages(bp, issuer=settings.issuer)

    @bp.get("/authorize")
    async def ask() -> Response:
        parameters = query_parameters()
        client = await deps.clients.get(parameters.require("client_id"))
        if client is None:
            raise DisplayedError(
                ErrorCode.INVALID_CLIENT,
                "The app's registration is unknown or has expired. Go back to the app and connect again.",
            )
        try:
            asked = authorization.validate(parameters, client, deps.services, settings.default_scopes)
        except OAuthError as error:
            deps.audit.record(
                AuditEvent(EventKind.AUTHORIZATION_REFUSED, reason=str(error), client_id=client.client_id)
            )
            raise
        return await consent.ask(deps, cookie, asked, client)

    @bp.post("/authorize/consent")
    async def decide() -> Response:
        form = await form_parameters()
        handle = form.require("handle")
        pending = await deps.authorizations.pending(handle)
        # The handle is secret and bound to the cookie, which makes it the anti-forgery token as well. Look
        # before taking: a stranger's attempt must not use up somebody's form.
        ours = comes_from_our_page(settings.issuer)
        if pending is None or not cookie.belongs_to(pending.browser_hash) or not ours:
            raise _stale()
        if await deps.authorizations.take_pending(handle) is None:
            raise _stale()
        asked = pending.request
        if form.get("decision") != "allow":
            deps.audit.record(AuditEvent(EventKind.CONSENT_DENIED, client_id=asked.client_id))
            return await endings.declined(deps, asked, "the user did not consent")
        deps.audit.record(
            AuditEvent(EventKind.CONSENT_GIVEN, client_id=asked.client_id, scope=" ".join(asked.scopes))
        )
        state, code_verifier = new_secret(), new_secret()
        await deps.authorizations.add_sign_in(state, SignIn(pending, code_verifier))
        location = deps.github.sign_in_url(
            state=state, code_verifier=code_verifier, with_groups=bool(groups_that_matter(deps))
        )
        return Response(b"", _SEE_OTHER, {**NO_STORE, "Location": location})

    return bp


def _stale() -> DisplayedError:
    return DisplayedError(
        ErrorCode.INVALID_REQUEST,
        "This page is no longer valid: it was used already, waited too long, or belongs to another browser. "
        "Go back to the app and connect again.",
    )
