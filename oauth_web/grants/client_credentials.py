"""The client credentials grant: a machine client gets a token to act as itself (OAuth 2.1 section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oauth_core.flows import client_credentials
from oauth_core.grant_types import CLIENT_CREDENTIALS, Registrable, any_client
from oauth_web.grants.token_grant import NewGrant, TokenGrant

if TYPE_CHECKING:
    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.store.clock import RedisClock


@dataclass(frozen=True)
class _MachineRequest:
    services: ServiceIndex
    clock: RedisClock

    async def __call__(self, client: Client, form: Parameters) -> NewGrant:
        """Grant the rights that the operator gave this client. Raises `DisplayedError`."""
        grant = client_credentials.grant_for(client, self.services, now=self.clock())
        scope, audience = client_credentials.narrowed(grant, form, self.services)
        return NewGrant(grant, audience, scope, allowed_at=grant.created_at)


GRANT_TYPE = TokenGrant(
    name=CLIENT_CREDENTIALS,
    registrable=Registrable.BY_OPERATOR,
    # No refresh token: the client can always request a new token (section 4.2.2).
    gives_refresh_token=False,
    rule=any_client,  # `client_credentials.grant_for` checks what the operator allowed
    handler=lambda deps: _MachineRequest(deps.services, deps.clock),
)
