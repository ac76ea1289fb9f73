"""`/device`: a person types the code that their device shows, and is asked for consent (RFC 8628 section 3.3).

A wrong code, an expired one and a used one get the same answer, and attempts are counted: a code is short. The
link that carries a code only fills in the form. Whoever follows one still has to say that it is their device's,
because a link like that is how somebody would trick them into connecting a stranger's device (section 5.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response, render_template

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import hash_secret
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows import device
from oauth_core.limits.rate_limits import Limit
from oauth_core.model import DeviceRequest
from oauth_web.endpoints import consent
from oauth_web.guards.rate_limiting import hold_back_address
from oauth_web.http.client_addresses import caller_address
from oauth_web.http.cookies import BrowserCookie, comes_from_our_page
from oauth_web.http.errors import show_as_pages
from oauth_web.http.responses import NO_STORE, form_parameters, query_parameters
from oauth_web.login import browser_session

if TYPE_CHECKING:
    from oauth_core.store.records.devices import FoundDevice
    from oauth_web.runtime.deps import Deps

_BAD_REQUEST = 400
_TOO_MANY_REQUESTS = 429
_RETRY_AFTER = "60"
_NOT_VALID = "That code is not valid. Check it on your device; codes expire after ten minutes."
_TOO_MANY = "Too many codes were tried. Wait a few minutes and try again."


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/device`."""
    bp = Blueprint("device", __name__)
    cookie = BrowserCookie(deps.settings)
    show_as_pages(bp, issuer=deps.settings.issuer)

    @bp.get("/device")
    async def show() -> Response:
        # Not looked up: following a link must neither count as an attempt nor tell whether a code is good.
        code = device.read_user_code(query_parameters().get("user_code") or "")
        return await _form(cookie, code=code)

    @bp.post("/device")
    async def enter() -> Response:
        form = await form_parameters()
        form.check_unique()
        if not comes_from_our_page(deps.settings.issuer):
            raise DisplayedError(
                ErrorCode.INVALID_REQUEST, "This code was sent by another page. Type it here yourself."
            )
        code = device.read_user_code(form.get("user_code") or "")
        browser = cookie.value()
        if code is None:  # it cannot be anybody's, so there is nothing to count
            return await _form(cookie, fault=_NOT_VALID, browser=browser, status=_BAD_REQUEST)
        await hold_back_address(deps, Limit.USER_CODES_PER_ADDRESS)
        if not await deps.devices.may_try(hash_secret(browser), hash_secret(f"address {caller_address()}")):
            deps.audit.record(EventKind.DEVICE_CODE_REFUSED, reason="too many attempts")
            return await _form(cookie, fault=_TOO_MANY, browser=browser, status=_TOO_MANY_REQUESTS)
        found = await _open_device(deps, code)
        client = None if found is None else await deps.clients.get(found.device.client_id)
        if found is None or client is None:
            deps.audit.record(EventKind.DEVICE_CODE_REFUSED, reason="unknown, expired or used")
            return await _form(cookie, fault=_NOT_VALID, browser=browser, status=_BAD_REQUEST)
        waiting = found.device
        asked = DeviceRequest(found.device_hash, waiting.client_id, waiting.scopes, waiting.resources)
        signed_in = await browser_session.current(deps)
        return await consent.ask(deps, cookie, asked, client, signed_in=signed_in, user_code=code)

    return bp


async def _open_device(deps: Deps, code: str) -> FoundDevice | None:
    """The device that shows `code`, if its person may still decide about it."""
    found = await deps.devices.by_user_code(code)
    if found is None or not device.is_open(found.device, found.decision, now=deps.clock()):
        return None
    return found


async def _form(
    cookie: BrowserCookie,
    *,
    code: str | None = None,
    fault: str | None = None,
    browser: str | None = None,
    status: int = 200,
) -> Response:
    shown = device.show_user_code(code) if code else ""
    page = await render_template("device.html", user_code=shown, fault=fault)
    headers = {**NO_STORE, "Retry-After": _RETRY_AFTER} if status == _TOO_MANY_REQUESTS else NO_STORE
    answer = Response(page, status, headers, content_type="text/html; charset=utf-8")
    cookie.set_on(answer, browser or cookie.value())
    return answer
