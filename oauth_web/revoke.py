"""`/revoke`: a client gives a token back (RFC 7009). A refresh token takes everything it led to with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core.audit import AuditEvent, EventKind
from oauth_web.answers import NO_STORE, form_parameters
from oauth_web.caller import authenticated
from oauth_web.presented_token import GivenAccess, GivenRefresh, recognise

if TYPE_CHECKING:
    from oauth_web.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/revoke`."""
    bp = Blueprint("revoke", __name__)

    @bp.post("/revoke")
    async def revoke() -> Response:
        form = await form_parameters()
        form.check_unique()
        client = await authenticated(deps, form, only_gives_back=True)
        match await recognise(deps, form.require("token"), client):
            case GivenRefresh(grant):
                if await deps.grants.end(grant.grant_id):
                    deps.audit.record(
                        AuditEvent(
                            EventKind.GRANT_REVOKED,
                            reason="revoked by the client",
                            client_id=client.client_id,
                            user=grant.user.login if grant.user else None,
                            user_id=grant.user.github_id if grant.user else None,
                            grant_id=grant.grant_id,
                        )
                    )
            case GivenAccess(claims):
                if await deps.grants.end_token(claims.jti):
                    deps.audit.record(
                        AuditEvent(
                            EventKind.TOKEN_REVOKED,
                            reason="revoked by the client",
                            client_id=client.client_id,
                            user=claims.github_user,
                            user_id=claims.github_id,
                            jti=claims.jti,
                        )
                    )
            case None:
                pass  # nothing to revoke is a success too (RFC 7009 section 2.2), and tells a prober nothing
        return Response(b"", 200, NO_STORE)

    return bp
