"""The client credentials grant: a machine client gets a token that speaks for itself (OAuth 2.1 section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.flows import client_credentials
from oauth_web.client_auth.client_certificate import to_bind
from oauth_web.grants.issuing import check_not_overtaken, issue

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_web.runtime.deps import Deps


async def issue_to_machine(deps: Deps, client: Client, form: Parameters) -> Response:
    """Answer an access token and no refresh token: the client can always ask again (section 4.2.2)."""
    grant = client_credentials.grant_for(client, deps.services, now=deps.clock())
    scope, audience = client_credentials.narrowed(grant, form, deps.services)
    await deps.clients.remember_grant(grant)
    await deps.grants.create(grant, None)
    answer = await issue(
        deps,
        grant,
        None,
        audience=audience,
        scope=scope,
        kind=EventKind.TOKEN_ISSUED,
        certificate=to_bind(deps, client),
    )
    await check_not_overtaken(deps, client, grant, allowed_at=grant.created_at)
    return answer
