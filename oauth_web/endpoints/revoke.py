"""`/revoke`: a client revokes its token (RFC 7009). Revoking a refresh token ends its whole grant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quart import Blueprint, Response

from oauth_core.audit import EventKind
from oauth_core.errors import OAuthError
from oauth_core.flows.notices import NoticeKind
from oauth_core.refusals import OAuthReason, refused
from oauth_web.client_auth.authentication import authenticate_client
from oauth_web.client_auth.presented_token import PresentedAccessToken, PresentedRefreshToken, find_presented_token
from oauth_web.http.errors import say_that_it_may_still_work
from oauth_web.http.responses import NO_STORE, form_parameters
from oauth_web.runtime.ended_grants import here

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps

_REASON = "revoked by the client"


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/revoke`."""
    bp = Blueprint("revoke", __name__)

    @bp.post("/revoke")
    async def revoke() -> Response:
        form = await form_parameters()
        form.check_unique()
        token = form.require("token")
        try:
            client = await authenticate_client(deps, form, only_revokes=True)
            given = await find_presented_token(deps, token, client)
        except OAuthError:
            await _check_not_restoring(deps)
            raise
        if given is None:
            await _check_not_restoring(deps)
            given = await find_presented_token(
                deps, token, client
            )  # the restore may have ended between the two reads
        match given:
            case PresentedRefreshToken(grant):
                what: dict[str, Any] = {"reason": _REASON, "client_id": client.client_id, "grant": grant}
                await deps.audit.intend_to_end(EventKind.GRANT_REVOKED, **what)
                if await deps.grants.end(grant.grant_id):
                    deps.audit.record(EventKind.GRANT_REVOKED, **what)
                    await deps.notices.add_ended([grant], here(NoticeKind.APP_ENDED_BY_ITSELF, deps.clock))
            case PresentedAccessToken(claims):
                of_token: dict[str, Any] = {"reason": _REASON, "client_id": client.client_id, "claims": claims}
                await deps.audit.intend_to_end(EventKind.TOKEN_REVOKED, **of_token)
                if await deps.grants.end_token(claims.jti):
                    deps.audit.record(EventKind.TOKEN_REVOKED, **of_token)
            case None:
                pass  # an unknown token is a success too (RFC 7009 section 2.2), and reveals nothing to a prober
        return Response(b"", 200, NO_STORE)

    say_that_it_may_still_work(bp)
    return bp


async def _check_not_restoring(deps: Deps) -> None:
    """Pass unless a backup is being restored: it may bring back a missing token, which must then be revoked.

    Raises `DisplayedError` (503); the client then repeats the request (RFC 7009 section 2.2.1).
    """
    if await deps.schema.is_restoring():
        raise refused(OAuthReason.RESTORING)
