"""`/device`: a person types the code that their device shows, and gets the consent page (RFC 8628 section 3.3).

A wrong, an expired and a used code get the same answer, and attempts are counted, because a code is short. A link
that contains a code only fills in the form. The person must still confirm that it is the code of their device:
with such a link an attacker could trick them into connecting the attacker's device (section 5.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from oauth_core.crypto.credentials import hash_secret
from oauth_core.flows import device
from oauth_core.limits.rate_limits import Limit
from oauth_core.model import DeviceRequest
from oauth_core.refusals import OAuthReason, refused
from oauth_web.endpoints import consent
from oauth_web.guards.rate_limiting import enforce_address_limit
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.cookies import BrowserCookie, comes_from_our_page
from oauth_web.http.errors import show_as_pages
from oauth_web.http.responses import form_parameters, page_answer, query_parameters
from oauth_web.login import browser_session

if TYPE_CHECKING:
    from oauth_core.store.records.devices import FoundDevice
    from oauth_web.runtime.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/device`."""
    bp = Blueprint("device", __name__)
    cookie = BrowserCookie(deps.settings)
    show_as_pages(bp, issuer=deps.settings.issuer)

    @bp.get("/device")
    async def show() -> Response:
        # The code is not looked up: following a link must neither count as an attempt nor reveal a valid code.
        code = device.parse_user_code(query_parameters().get("user_code") or "")
        return await _form(cookie, code=code)

    @bp.post("/device")
    async def enter() -> Response:
        form = await form_parameters()
        form.check_unique()
        if not comes_from_our_page(deps.settings.issuer):
            raise refused(OAuthReason.DEVICE_FORM_CROSS_SITE)
        code = device.parse_user_code(form.get("user_code") or "")
        browser = cookie.value()
        if code is None:  # it cannot be a valid code, so there is no attempt to count
            return await _form(cookie, reason=OAuthReason.USER_CODE_NOT_VALID, browser=browser)
        await enforce_address_limit(deps, Limit.USER_CODES_PER_ADDRESS)
        if not await deps.devices.may_try(hash_secret(browser), hash_secret(f"address {caller_address()}")):
            deps.audit.record(OAuthReason.TOO_MANY_USER_CODES.event, reason="too many attempts")
            return await _form(cookie, reason=OAuthReason.TOO_MANY_USER_CODES, browser=browser)
        found = await _open_device(deps, code)
        client = None if found is None else await deps.clients.get(found.device.client_id)
        if found is None or client is None:
            deps.audit.record(OAuthReason.USER_CODE_NOT_VALID.event, reason="unknown, expired or used")
            return await _form(cookie, reason=OAuthReason.USER_CODE_NOT_VALID, browser=browser)
        waiting = found.device
        sign_in_request = DeviceRequest(found.device_hash, waiting.client_id, waiting.scopes, waiting.resources)
        signed_in = await browser_session.current(deps)
        return await consent.ask(deps, cookie, sign_in_request, client, signed_in=signed_in, user_code=code)

    return bp


async def _open_device(deps: Deps, code: str) -> FoundDevice | None:
    """The device that shows `code`, if it still waits for a decision."""
    found = await deps.devices.by_user_code(code)
    if found is None or not device.is_open(found.device, found.decision, now=deps.clock()):
        return None
    return found


async def _form(
    cookie: BrowserCookie,
    *,
    code: str | None = None,
    reason: OAuthReason | None = None,
    browser: str | None = None,
) -> Response:
    """The form for a code; `reason` is why the typed code is refused."""
    shown = device.format_user_code(code) if code else ""
    row = None if reason is None else reason.row
    page = await render_template("device.html", user_code=shown, fault=None if row is None else row.description)
    status, retry_after = (200, None) if row is None else (row.status, row.retry_after)
    answer = page_answer(page, status, {} if retry_after is None else {"Retry-After": str(retry_after)})
    cookie.set_on(answer, browser or cookie.value())
    return answer
