"""`grant_type=authorization_code`: a code becomes a grant, once (OAuth 2.1 section 4.1.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.flows import token_requests
from oauth_core.store.records.authorization_codes import Consumption
from oauth_web.client_auth import dpop_proof
from oauth_web.grants.issuing import begin_grant, end_grant, invalid_grant

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_web.runtime.deps import Deps


async def redeem(deps: Deps, client: Client, form: Parameters) -> Response:
    """Redeem a code: validate the request, then consume the code in one atomic step.

    If the code is replayed at the same moment, nothing that it gave stays alive. Raises `DisplayedError`.
    """
    found = await deps.codes.find(form.require("code"))
    if found is None:
        raise invalid_grant("the code is unknown or has expired")
    owner = await deps.clients.look_at(found.code.request.client_id)
    token_requests.check_redemption(found.code, client, form, deps.services, owner=owner)
    if found.code.request.dpop_key not in {None, dpop_proof.shown()}:
        # Before the code is used up: a thief without the key must not cost the owner the sign-in.
        raise invalid_grant("the code is bound to another key (RFC 9449 section 10)")
    match await deps.codes.consume(found):
        case Consumption.CONSUMED:
            pass
        case Consumption.ALREADY_USED:
            # Verifier and client are right, so two parties hold the owner's copy of the code. The grant of the
            # first redemption ends (RFC 6749 section 4.1.2). If it does not exist yet, its maker ends it.
            deps.audit.record(
                AuditEvent(EventKind.CODE_REPLAYED, client_id=client.client_id, grant_id=found.code.grant_id)
            )
            await end_grant(deps, found.code.grant_id, client, "code replayed")
            raise invalid_grant("the code was used before; what it gave has been revoked")
        case Consumption.GONE:
            raise invalid_grant("the code is unknown or has expired")
    lifetime = deps.settings.refresh_token_lifetime
    grant = token_requests.grant_from(found.code, now=deps.clock(), lifetime=lifetime)
    audience = token_requests.narrow_resources(grant.resources, form, deps.services)
    answer = await begin_grant(deps, client, grant, audience=audience, allowed_at=found.code.allowed_at)
    if await deps.codes.was_replayed(found):
        await end_grant(deps, grant.grant_id, client, "code replayed")
        raise invalid_grant("the code was used more than once; what it gave has been revoked")
    return answer
