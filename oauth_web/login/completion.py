"""The completion of a sign-in: a redirect with a code for a client, a decision for a device, or the account page.

A client gets its answer by redirect; a device gets it at its next poll. All steps before the completion are the
same for the three cases, so that no case can lack a check.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from quart import Response, render_template

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import new_identifier
from oauth_core.limits.rate_limits import Limit
from oauth_core.model import (
    AccountVisit,
    AuthorizationCode,
    AuthorizationRequest,
    DeviceDecision,
    DeviceRequest,
)
from oauth_core.net.public_urls import path_of
from oauth_core.refusals import OAuthReason, refused
from oauth_web.guards.rate_limiting import enforce_limit
from oauth_web.http.responses import page_answer, redirect_to_client, see_other

if TYPE_CHECKING:
    from oauth_core.errors import DisplayedError, RedirectedError
    from oauth_core.model import User
    from oauth_web.login.eligibility import Eligibility
    from oauth_web.runtime.deps import Deps

SignInRequest = AuthorizationRequest | DeviceRequest | AccountVisit


def client_of(sign_in_request: SignInRequest) -> str | None:
    """The id of the client that asks; `None` for a visit of the account page."""
    return None if isinstance(sign_in_request, AccountVisit) else sign_in_request.client_id


async def complete_sign_in(
    deps: Deps, sign_in_request: SignInRequest, user: User, eligibility: Eligibility, *, allowed_at: int
) -> Response:
    """Complete the sign-in of `user`, who agreed, signed in and is eligible. `allowed_at` is when that was
    checked.

    Raises `DisplayedError` when the person signs in too often.
    """
    await enforce_limit(deps, Limit.SIGN_INS_PER_USER, str(user.github_id))
    if (client_id := client_of(sign_in_request)) is not None:
        # An eligible person has consented: the registration is in use from now on.
        await deps.clients.keep_for(client_id, 0, lifetime=deps.settings.client_lifetime)
    match sign_in_request:
        case AuthorizationRequest():
            code = await deps.codes.add(
                AuthorizationCode(
                    new_identifier(),
                    sign_in_request,
                    user,
                    eligibility.sealed_github_token,
                    eligibility.groups,
                    allowed_at,
                )
            )
            return redirect_to_client(
                sign_in_request.redirect_uri,
                {"code": code, "state": sign_in_request.state},
                issuer=deps.settings.issuer,
            )
        case DeviceRequest():
            # Read again: the code may have expired while the person was at GitHub.
            found = await deps.devices.get(sign_in_request.device_hash)
            expired = found is None or deps.clock() >= found.device.expires_at
            decision = DeviceDecision(user, eligibility.sealed_github_token, eligibility.groups, allowed_at)
            if not expired:
                await deps.audit.intend(EventKind.DEVICE_APPROVED, client_id=sign_in_request.client_id, user=user)
            if expired or not await deps.devices.decide(sign_in_request.device_hash, decision):
                raise refused(OAuthReason.DEVICE_CODE_OVER)
            _audit_device(deps, EventKind.DEVICE_APPROVED, sign_in_request, user)
            return await _device_page(connected=True)
        case AccountVisit():
            return see_other(f"{path_of(deps.settings.issuer)}{sign_in_request.page}")
        case _:
            assert_never(sign_in_request)


async def reject_sign_in(deps: Deps, sign_in_request: SignInRequest, error: DisplayedError) -> Response:
    """End the request: the person declined, GitHub did not confirm them, or they are not eligible. It is final."""
    match sign_in_request:
        case AuthorizationRequest():
            raise error.redirected_to(sign_in_request.redirect_uri, sign_in_request.state)
        case DeviceRequest():
            if await deps.devices.decide(sign_in_request.device_hash, DeviceDecision()):
                _audit_device(deps, EventKind.DEVICE_DENIED, sign_in_request, None)
            return await _device_page(connected=False, description=error.description)
        case AccountVisit():
            raise replace(error, description=f"{error.description}.")
        case _:
            assert_never(sign_in_request)


def retry_later_error(sign_in_request: SignInRequest, error: DisplayedError) -> DisplayedError | RedirectedError:
    """The error to raise when nothing is decided, as in an outage. A device may try again with the same code."""
    match sign_in_request:
        case AuthorizationRequest():
            return error.redirected_to(sign_in_request.redirect_uri, sign_in_request.state)
        case DeviceRequest() | AccountVisit():
            return error
        case _:
            assert_never(sign_in_request)


async def _device_page(*, connected: bool, description: str | None = None) -> Response:
    page = await render_template("device_done.html", connected=connected, description=description)
    return page_answer(page)


def _audit_device(deps: Deps, kind: EventKind, sign_in_request: DeviceRequest, user: User | None) -> None:
    deps.audit.record(kind, client_id=sign_in_request.client_id, user=user, scope=" ".join(sign_in_request.scopes))
