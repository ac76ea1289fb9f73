"""How a sign-in ends: a client gets its answer by redirect, a device finds it when it next polls.

Whoever only wanted to see their account gets there. Everything up to here is the same for all, so that no check
can be there for the one and missing for the other.
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
from oauth_web.http.responses import NO_STORE, redirect_to_client

if TYPE_CHECKING:
    from oauth_core.errors import DisplayedError, RedirectedError
    from oauth_core.model import User
    from oauth_web.login.eligibility import Eligibility
    from oauth_web.runtime.deps import Deps

Asked = AuthorizationRequest | DeviceRequest | AccountVisit

_SEE_OTHER = 303


def client_of(asked: Asked) -> str | None:
    """The client that asks, if one does."""
    return None if isinstance(asked, AccountVisit) else asked.client_id


async def accepted(deps: Deps, asked: Asked, user: User, eligibility: Eligibility, *, allowed_at: int) -> Response:
    """`user` agreed, signed in and is admitted, as `eligibility` says; at `allowed_at` nothing spoke against it.

    Raises `DisplayedError` when they do so too often.
    """
    await hold_back(deps, Limit.SIGN_INS_PER_USER, str(user.github_id))
    if (client_id := client_of(asked)) is not None:
        # Somebody who may come in has consented: the registration is in use from now on.
        await deps.clients.keep_for(client_id, 0)
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
            # Looked at again: the code may have expired while the person was at GitHub.
            found = await deps.devices.get(asked.device_hash)
            expired = found is None or deps.clock() >= found.device.expires_at
            decision = DeviceDecision(user, eligibility.sealed_github_token, eligibility.groups, allowed_at)
            if expired or not await deps.devices.decide(asked.device_hash, decision):
                raise refused(OAuthReason.DEVICE_CODE_OVER)
            _audit_device(deps, EventKind.DEVICE_APPROVED, asked, user)
            return await _device_page(connected=True)
        case AccountVisit():
            return Response(
                b"", _SEE_OTHER, {**NO_STORE, "Location": f"{path_of(deps.settings.issuer)}{asked.page}"}
            )
        case _:
            assert_never(asked)


async def declined(deps: Deps, asked: Asked, error: DisplayedError) -> Response:
    """The person said no, GitHub did not confirm them, or they may not use this gateway. That is final."""
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
    """Nobody's fault and nothing decided: the error to raise. A device may be tried again with the same code."""
    match asked:
        case AuthorizationRequest():
            return error.redirected_to(asked.redirect_uri, asked.state)
        case DeviceRequest() | AccountVisit():
            return error
        case _:
            assert_never(asked)


async def _device_page(*, connected: bool, description: str | None = None) -> Response:
    page = await render_template("device_done.html", connected=connected, description=description)
    return Response(page, 200, NO_STORE, content_type="text/html; charset=utf-8")


def _audit_device(deps: Deps, kind: EventKind, asked: DeviceRequest, user: User | None) -> None:
    deps.audit.record(kind, client_id=asked.client_id, user=user, scope=" ".join(asked.scopes))
