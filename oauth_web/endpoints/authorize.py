"""`/authorize`: the authorization request of a client, and the answer to the consent page, also for devices."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response, render_template

from oauth_core.audit import EventKind
from oauth_core.errors import ErrorCode, OAuthError, RedirectedError
from oauth_core.flows import authorization, prompts
from oauth_core.flows.prompts import Prompt
from oauth_core.limits.rate_limits import Limit
from oauth_core.refusals import OAuthReason, refused
from oauth_web.endpoints import consent
from oauth_web.guards import repeated_requests
from oauth_web.guards.rate_limiting import enforce_address_limit
from oauth_web.http.cookies import BrowserCookie, comes_from_our_page, is_page_load, without_cookie
from oauth_web.http.errors import show_as_pages
from oauth_web.http.responses import form_parameters, page_answer, query_parameters
from oauth_web.login import browser_session, completion, redirect, redirect_trust, sso

if TYPE_CHECKING:
    from oauth_core.model import AuthorizationRequest, Client, PendingAuthorization
    from oauth_core.parameters import Parameters
    from oauth_web.login.browser_session import SignedInBrowser
    from oauth_web.login.completion import SignInRequest
    from oauth_web.runtime.deps import Deps

_BAD_REQUEST = 400
_ALLOW, _ALLOW_AS_ANOTHER = "allow", "other"
_ANOTHER_LOGIN = frozenset({Prompt.LOGIN, Prompt.SELECT_ACCOUNT})


def blueprint(deps: Deps) -> Blueprint:
    """The endpoints at and below `/authorize`."""
    bp = Blueprint("authorize", __name__)
    settings = deps.settings
    cookie = BrowserCookie(settings)
    show_as_pages(bp, issuer=settings.issuer)

    @bp.get("/authorize")
    async def ask() -> Response:
        await enforce_address_limit(deps, Limit.AUTHORIZATIONS_PER_ADDRESS)
        parameters = query_parameters()
        client = await deps.clients.get(parameters.require("client_id"))
        if client is None:
            return await _unknown_client(deps, parameters)
        try:
            sign_in_request, requested_prompts = _validated(deps, parameters, client)
            signed_in = None if requested_prompts & _ANOTHER_LOGIN else await browser_session.current(deps)
            remembered = (
                signed_in is not None
                and Prompt.CONSENT not in requested_prompts
                and is_page_load()
                and await sso.may_skip_consent(deps, sign_in_request, client, signed_in)
            )
            if Prompt.NONE in requested_prompts and not remembered:
                raise _not_without_asking(sign_in_request, signed_in)
        except RedirectedError as error:
            raise await redirect_trust.before_sign_in(deps, error, client.client_id) from None
        if signed_in is not None and remembered:
            _audit_consent(deps, EventKind.CONSENT_REUSED, sign_in_request, signed_in)
            return await sso.complete_for_session(deps, sign_in_request, signed_in)
        return await consent.ask(
            deps,
            cookie,
            sign_in_request,
            client,
            signed_in=signed_in,
            picks_account=bool(requested_prompts & _ANOTHER_LOGIN),
        )

    @bp.post("/authorize/consent")
    async def decide() -> Response:
        form = await form_parameters()
        handle = form.require("handle")
        pending = await deps.authorizations.pending(handle)
        # The handle is secret and bound to the cookie, so it is the anti-forgery token too. Check before using
        # it up: an attacker's attempt must not use up another person's form.
        if not comes_from_our_page(settings.issuer, has_secret=True):
            raise refused(OAuthReason.PAGE_STALE)
        if cookie.read_secret() is None:
            raise without_cookie(settings.issuer)
        if pending is None:
            answer = await repeated_requests.stored_response(deps, handle, cookie.read_secret())
        elif not cookie.belongs_to(pending.browser_hash):
            answer = None
        else:
            taken = partial(_decided, deps, handle, pending, form)
            answer = await repeated_requests.run_once(deps, handle, cookie.read_secret(), taken)
        if answer is None:
            raise refused(OAuthReason.PAGE_STALE)
        return answer

    return bp


async def _unknown_client(deps: Deps, parameters: Parameters) -> Response:
    """The page for a client whose registration is gone. Most clients keep the id and come here forever."""
    services = [deps.services.by_resource(resource) for resource in parameters.all("resource")]
    page = await render_template(
        "unknown_client.html",
        # Only addresses of our services: our page must not recommend an address that a caller wrote.
        addresses=dict.fromkeys(service.resource for service in services if service is not None),
        code=ErrorCode.INVALID_CLIENT,
    )
    return page_answer(page, _BAD_REQUEST)


def _validated(
    deps: Deps, parameters: Parameters, client: Client
) -> tuple[AuthorizationRequest, frozenset[Prompt]]:
    """The client's request and its prompts. Raises `OAuthError`, and audits it."""
    try:
        sign_in_request = authorization.validate(
            parameters,
            client,
            deps.services,
            deps.settings.default_scopes,
            app_schemes=deps.settings.app_schemes,
        )
        return sign_in_request, prompts.parse_prompt(parameters, sign_in_request)
    except OAuthError as error:
        deps.audit.record(EventKind.AUTHORIZATION_REFUSED, reason=str(error), client_id=client.client_id)
        raise


async def _decided(deps: Deps, handle: str, pending: PendingAuthorization, form: Parameters) -> Response:
    """Act on the button that the person pressed. Raises `OAuthError`."""
    signed_in = await browser_session.current(deps) if pending.session_hash is not None else None
    # A page shown to one user must not act for another user, nor after that user has signed out.
    if pending.session_hash is not None and (signed_in is None or signed_in.session_hash != pending.session_hash):
        raise refused(OAuthReason.PAGE_STALE)
    sign_in_request, decision = pending.request, form.get("decision")
    if (client_id := completion.client_of(sign_in_request)) is not None:
        await deps.clients.check_enabled(client_id)  # an operator may have disabled it while the page was open
    if decision in {_ALLOW, _ALLOW_AS_ANOTHER}:
        await deps.audit.intend(EventKind.CONSENT_GIVEN, **_of_consent(sign_in_request, signed_in))
    if await deps.authorizations.take_pending(handle) is None:
        raise refused(OAuthReason.PAGE_STALE)
    if decision not in {_ALLOW, _ALLOW_AS_ANOTHER}:
        _audit_consent(deps, EventKind.CONSENT_DENIED, sign_in_request, signed_in)
        return await _cancelled(deps, sign_in_request, signed_in)
    _audit_consent(deps, EventKind.CONSENT_GIVEN, sign_in_request, signed_in)
    remembers = form.get("remember") == "yes"
    if signed_in is None or decision == _ALLOW_AS_ANOTHER:
        picks_account = pending.picks_account or decision == _ALLOW_AS_ANOTHER
        return await redirect.to_github(deps, pending, remembers=remembers, picks_account=picks_account)
    answer = await sso.complete_for_session(deps, sign_in_request, signed_in)
    if remembers:
        await sso.store_consent(
            deps, sign_in_request, pending.client_fingerprint, signed_in.user, allowed_at=signed_in.seen_at
        )
    return answer


async def _cancelled(deps: Deps, sign_in_request: SignInRequest, signed_in: SignedInBrowser | None) -> Response:
    """Answer a press of Cancel. Without a session it is an answer before the sign-in."""
    try:
        return await completion.reject_sign_in(deps, sign_in_request, refused(OAuthReason.CONSENT_DENIED))
    except RedirectedError as error:
        client_id = completion.client_of(sign_in_request)
        if signed_in is not None or client_id is None:
            raise
        raise await redirect_trust.before_sign_in(deps, error, client_id) from None


def _not_without_asking(
    sign_in_request: AuthorizationRequest, signed_in: SignedInBrowser | None
) -> RedirectedError:
    """The error response to `prompt=none` (OpenID Connect Core section 3.1.2.6)."""
    reason = OAuthReason.LOGIN_REQUIRED if signed_in is None else OAuthReason.CONSENT_REQUIRED
    return refused(reason).redirected_to(sign_in_request.redirect_uri, sign_in_request.state)


def _audit_consent(
    deps: Deps, kind: EventKind, sign_in_request: SignInRequest, signed_in: SignedInBrowser | None
) -> None:
    deps.audit.record(kind, **_of_consent(sign_in_request, signed_in))


def _of_consent(sign_in_request: SignInRequest, signed_in: SignedInBrowser | None) -> dict[str, Any]:
    """The fields of an event about a consent."""
    return {
        "client_id": completion.client_of(sign_in_request),
        "user": signed_in.user if signed_in else None,
        "scope": " ".join(getattr(sign_in_request, "scopes", ())) or None,
    }
