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
from oauth_web.guards.rate_limiting import hold_back
from oauth_web.http.responses import page_answer, redirect_to_client, see_other

if TYPE_CHECKING:
    from oauth_core.errors import DisplayedError, RedirectedError
    from oauth_core.model import User
    from oauth_web.login.eligibility import Eligibility
    from oauth_web.runtime.deps import Deps

Asked = AuthorizationRequest | DeviceRequest | AccountVisit


def client_of(asked: Asked) -> str | None:
    """The id of the client that asks; `None` for a visit of the account page."""
    return None if isinstance(asked, AccountVisit) else asked.client_id


async def accepted(deps: Deps, asked: Asked, user: User, eligibility: Eligibility, *, allowed_at: int) -> Response:
    """Complete the sign-in of `user`, who agreed, signed in and is eligible. `allowed_at` is when that was
    checked.

    Raises `DisplayedError` when the person signs in too often.
    """
    await hold_back(deps, Limit.SIGN_INS_PER_USER, str(user.github_id))
    if (client_id := client_of(asked)) is not None:
        # An eligible person has consented: the registration is in use from now on.
        await deps.clients.keep_for(client_id, 0, lifetime=deps.settings.client_lifetime)
    match asked:
        case AuthorizationRequest():
            code = await deps.codes.add(
                AuthorizationCode(
                    new_identifier(), asked, user, eligibility.sealed_github_token, eligibility.groups, allowed_at
                )
            )
            return redirect_to_client(
                asked.redirect_uri, {"code": code, "state": asked.state}, issuer=deps.settings.issuer
            )
        case DeviceRequest():
            # Read again: the code may have expired while the person was at GitHub.
            found = await deps.devices.get(asked.device_hash)
            expired = found is None or deps.clock() >= found.device.expires_at
            decision = DeviceDecision(user, eligibility.sealed_github_token, eligibility.groups, allowed_at)
            if expired or not await deps.devices.decide(asked.device_hash, decision):
                raise refused(OAuthReason.DEVICE_CODE_OVER)
            _audit_device(deps, EventKind.DEVICE_APPROVED, asked, user)
            return await _device_page(connected=True)
        case AccountVisit():
            return see_other(f"{path_of(deps.settings.issuer)}{asked.page}")
        case _:
            assert_never(asked)


async def declined(deps: Deps, asked: Asked, error: DisplayedError) -> Response:
    """End the request: the person declined, GitHub did not confirm them, or they are not eligible. It is final."""
    match asked:
        case AuthorizationRequest():
            raise error.redirected_to(asked.redirect_uri, asked.state)
        case DeviceRequest():
            if await deps.devices.decide(asked.device_hash, DeviceDecision()):
                _audit_device(deps, EventKind.DEVICE_DENIED, asked, None)
            return await _device_page(connected=False, description=error.description)
        case AccountVisit():
            raise replace(error, description=f"{error.description}.")
        case _:
            assert_never(asked)


def postponed(asked: Asked, error: DisplayedError) -> DisplayedError | RedirectedError:
    """The error to raise when nothing is decided, as in an outage. A device may try again with the same code."""
    match asked:
        case AuthorizationRequest():
            return error.redirected_to(asked.redirect_uri, asked.state)
        case DeviceRequest() | AccountVisit():
            return error
        case _:
            assert_never(asked)


async def _device_page(*, connected: bool, description: str | None = None) -> Response:
    page = await render_template("device_done.html", connected=connected, description=description)
    return page_answer(page)


def _audit_device(deps: Deps, kind: EventKind, asked: DeviceRequest, user: User | None) -> None:
    deps.audit.record(kind, client_id=asked.client_id, user=user, scope=" ".join(asked.scopes))
