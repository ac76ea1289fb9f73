"""`/token`: the steps that are the same for every token request.

It authenticates the client and checks its proofs. The rule and the handler of the grant type decide, and
`oauth_web.grants.issuing` issues the tokens. `oauth_web.grants.catalog` lists the grant types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from quart import Blueprint, Response

from oauth_core.audit import EventKind
from oauth_core.errors import DisplayedError
from oauth_core.refusals import OAuthReason, is_recorded_by_endpoint, refused
from oauth_web.client_auth.authentication import authenticate_client
from oauth_web.client_auth.client_certificate import to_bind
from oauth_web.client_auth.dpop_proof import check_proof
from oauth_web.grants.issuing import Issuing
from oauth_web.grants.token_grant import ContinuedGrant, NewGrant, offered_by
from oauth_web.http.responses import form_parameters

if TYPE_CHECKING:
    from oauth_web.runtime.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/token`."""
    bp = Blueprint("token", __name__)
    issuing = Issuing.from_deps(deps)
    offered = {each.name: (each, each.handler(deps)) for each in offered_by(deps)}

    @bp.post("/token")
    async def token() -> Response:
        form = await form_parameters()
        form.check_unique()
        client = await authenticate_client(deps, form)
        try:
            # Before anything is used up: a client that forgot its certificate may repeat the request with it.
            to_bind(deps.settings, client)
            await check_proof(deps, client)
            name = form.require("grant_type")
            if name not in offered:
                raise refused(OAuthReason.GRANT_TYPE_NOT_OFFERED)
            grant_type, handle = offered[name]
            grant_type.rule(name, client)
            match await handle(client, form):
                case NewGrant() as new:
                    return await issuing.issue_grant(grant_type, client, new)
                case ContinuedGrant() as continued:
                    return await issuing.continue_grant(continued)
                case never:
                    assert_never(never)
        except DisplayedError as error:
            if is_recorded_by_endpoint(error):
                deps.audit.record(EventKind.TOKEN_REFUSED, reason=str(error), client_id=client.client_id)
            raise

    return bp
