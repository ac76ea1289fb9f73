"""`/token`: who is asking, and for which grant. Each grant has a file of its own in `oauth_web.grants`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core import grant_types
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_web.client_auth.authentication import authenticated
from oauth_web.client_auth.client_certificate import to_bind
from oauth_web.client_auth.dpop_proof import look_at_proof
from oauth_web.grants.authorization_code import redeem
from oauth_web.grants.client_credentials import issue_to_machine
from oauth_web.grants.device_code import poll
from oauth_web.grants.id_jag import exchange
from oauth_web.grants.refresh_token import refresh
from oauth_web.http.responses import form_parameters

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps


_ORDINARY = frozenset({ErrorCode.AUTHORIZATION_PENDING, ErrorCode.SLOW_DOWN})
"""What a waiting device hears every few seconds: nothing was refused, and the audit log would drown in it."""


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/token`."""
    bp = Blueprint("token", __name__)

    @bp.post("/token")
    async def token() -> Response:
        form = await form_parameters()
        form.check_unique()
        client = await authenticated(deps, form)
        try:
            # Before anything is used up: who only forgot the certificate may come again with it.
            to_bind(deps, client)
            await look_at_proof(deps, client)
            match form.require("grant_type"):
                case grant_types.AUTHORIZATION_CODE:
                    return await redeem(deps, client, form)
                case grant_types.REFRESH_TOKEN:
                    return await refresh(deps, client, form)
                case grant_types.DEVICE_CODE:
                    return await poll(deps, client, form)
                case grant_types.CLIENT_CREDENTIALS:
                    return await issue_to_machine(deps, client, form)
                case grant_types.JWT_BEARER if deps.identity_providers.trusted:
                    return await exchange(deps, client, form)
                case _:
                    raise DisplayedError(ErrorCode.UNSUPPORTED_GRANT_TYPE, "grant_type is not offered here")
        except DisplayedError as error:
            if error.code in _ORDINARY:
                raise
            deps.audit.record(AuditEvent(EventKind.TOKEN_REFUSED, reason=str(error), client_id=client.client_id))
            raise

    return bp
