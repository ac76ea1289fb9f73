"""`/authorize`: the consent page and its answer. Consent comes before GitHub.

One GitHub app stands behind every client, and GitHub does not ask again for an app it knows. Without our own
question first, any client could be given a signed-in user's authority unseen (the confused deputy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template, request

from oauth_core import authorization, client_id_documents, redirect_uris
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.credentials import hash_secret, new_secret
from oauth_core.errors import DisplayedError, ErrorCode, OAuthError, RedirectedError
from oauth_core.model import PendingAuthorization, SignIn
from oauth_web.answers import NO_STORE, form_parameters, query_parameters
from oauth_web.browser import BrowserCookie
from oauth_web.errors import show_as_pages

if TYPE_CHECKING:
    from oauth_core.model import AuthorizationRequest, Client
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
        browser = cookie.value()
        handle = await deps.authorizations.add_pending(PendingAuthorization(asked, hash_secret(browser)))
        page = await render_template("consent.html", handle=handle, **_in_words(deps, client, asked))
        answer = Response(page, 200, NO_STORE, content_type="text/html; charset=utf-8")
        cookie.set_on(answer, browser)
        return answer

    @bp.post("/authorize/consent")
    async def decide() -> Response:
        form = await form_parameters()
        handle = form.require("handle")
        pending = await deps.authorizations.pending(handle)
        # The handle is secret and bound to the cookie, which makes it the anti-forgery token as well. Look
        # before taking: a stranger's attempt must not use up somebody's form.
        if pending is None or not cookie.belongs_to(pending.browser_hash) or not _same_origin(settings.issuer):
            raise _stale()
        if await deps.authorizations.take_pending(handle) is None:
            raise _stale()
        asked = pending.request
        if form.get("decision") != "allow":
            deps.audit.record(AuditEvent(EventKind.CONSENT_DENIED, client_id=asked.client_id))
            raise RedirectedError(
                ErrorCode.ACCESS_DENIED, "the user did not consent", asked.redirect_uri, asked.state
            )
        deps.audit.record(
            AuditEvent(EventKind.CONSENT_GIVEN, client_id=asked.client_id, scope=" ".join(asked.scopes))
        )
        state, code_verifier = new_secret(), new_secret()
        await deps.authorizations.add_sign_in(state, SignIn(pending, code_verifier))
        location = deps.github.sign_in_url(state=state, code_verifier=code_verifier)
        return Response(b"", _SEE_OTHER, {**NO_STORE, "Location": location})

    return bp


def _in_words(deps: Deps, client: Client, asked: AuthorizationRequest) -> dict[str, object]:
    """What the consent page says: who asks, where the user will be sent, and for what."""
    scopes = frozenset(asked.scopes)
    return {
        "client_name": client.client_name or "An app without a name",
        "client_uri": client.client_uri,
        "document_host": client_id_documents.host_of(client.client_id),
        "redirect_host": redirect_uris.host_of(asked.redirect_uri),
        "on_this_device": redirect_uris.is_loopback(asked.redirect_uri),
        "services": [service for service in deps.services.services if service.scope in scopes],
    }


def _same_origin(issuer: str) -> bool:
    origin = request.headers.get("Origin")
    return origin in {None, issuer}


def _stale() -> DisplayedError:
    return DisplayedError(
        ErrorCode.INVALID_REQUEST,
        "This page is no longer valid: it was used already, waited too long, or belongs to another browser. "
        "Go back to the app and connect again.",
    )
