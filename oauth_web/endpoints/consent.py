"""The consent page: the client, the rights it asks for, and the redirect destination; shown before the sign-in.

All clients share one GitHub app, and GitHub does not ask again for an app that the user authorized. Without our
own consent page, any client could get a signed-in user's authority unseen (the confused deputy).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Response, render_template

from oauth_core.clients import client_id_documents, redirect_uris
from oauth_core.crypto.credentials import hash_secret
from oauth_core.flows import consent, device
from oauth_core.model import AuthorizationRequest, PendingAuthorization
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.responses import page_answer

if TYPE_CHECKING:
    from oauth_core.model import Client, DeviceRequest
    from oauth_web.http.cookies import BrowserCookie
    from oauth_web.login.browser_session import SignedInBrowser
    from oauth_web.runtime.deps import Deps


_DAY = 86_400


async def ask(
    deps: Deps,
    cookie: BrowserCookie,
    sign_in_request: AuthorizationRequest | DeviceRequest,
    client: Client,
    *,
    signed_in: SignedInBrowser | None,
    user_code: str | None = None,
    picks_account: bool = False,
) -> Response:
    """Store `sign_in_request`, bound to this browser, and show the consent page for it.

    With `signed_in`, the page shows as which user the app would act, and its form is valid in that session only.
    Without a session, the button leads to the sign-in at GitHub.

    `user_code` is the code that the person typed, so that they can compare it with their device (RFC 8628
    section 5.4).
    """
    browser = cookie.value()
    handle = await deps.authorizations.add_pending(
        PendingAuthorization(
            sign_in_request,
            hash_secret(browser),
            session_hash=signed_in.session_hash if signed_in else None,
            client_fingerprint=consent.fingerprint(client),
            picks_account=picks_account,
        ),
        caller=caller_address(),
    )
    remembered_for = deps.settings.remembered_consent_lifetime if consent.may_be_remembered(sign_in_request) else 0
    page = await render_template(
        "consent.html",
        handle=handle,
        client_name=client.client_name or "An app without a name",
        client_uri=client.client_uri,
        document_host=client_id_documents.host_of(client.client_id),
        services=deps.services.rights_in_words(sign_in_request.scopes),
        user=signed_in.user if signed_in else None,
        remembered_days=-(-remembered_for // _DAY),
        user_code=device.format_user_code(user_code) if user_code else None,
        **_destination(sign_in_request),
    )
    answer = page_answer(page)
    cookie.set_on(answer, browser)
    return answer


def _destination(sign_in_request: AuthorizationRequest | DeviceRequest) -> dict[str, object]:
    """Where the browser is redirected afterwards; a device has no redirect."""
    if not isinstance(sign_in_request, AuthorizationRequest):
        return {"redirect_host": None, "on_this_device": False}
    return {
        "redirect_host": redirect_uris.host_of(sign_in_request.redirect_uri),
        "on_this_device": not redirect_uris.is_https(sign_in_request.redirect_uri),
    }
