"""`grant_type=authorization_code`: redeems a code for a grant, once (OAuth 2.1 section 4.1.3)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.flows import token_requests
from oauth_core.grant_types import AUTHORIZATION_CODE, Registrable, any_client
from oauth_core.refusals import OAuthReason, refused
from oauth_core.store.records.authorization_codes import Consumption
from oauth_web.client_auth import dpop_proof
from oauth_web.grants.token_grant import NewGrant, TokenGrant
from oauth_web.runtime.ended_grants import GrantEnd, end_grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.audit import AuditRecorder
    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.store.clock import RedisClock
    from oauth_core.store.records.authorization_codes import AuthorizationCodeStore
    from oauth_web.client_documents.client_directory import ClientDirectory
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class _Redemption:
    codes: AuthorizationCodeStore
    clients: ClientDirectory
    end_grant: Callable[[str, Client, GrantEnd], Awaitable[None]]
    services: ServiceIndex
    audit: AuditRecorder
    clock: RedisClock
    lifetime: int
    """The lifetime of a grant in seconds."""

    async def __call__(self, client: Client, form: Parameters) -> NewGrant:
        """Redeem a code: validate the request, then consume the code in one atomic step.

        If the code is replayed at the same moment, its grant and tokens end. Raises `DisplayedError`.
        """
        found = await self.codes.find(form.require("code"))
        if found is None:
            raise refused(OAuthReason.CODE_UNKNOWN)
        owner = await self.clients.get_stored(found.code.request.client_id)
        token_requests.check_redemption(found.code, client, form, self.services, owner=owner)
        if found.code.request.dpop_key not in {None, dpop_proof.proven_key()}:
            # Before the code is used up: a thief without the key must not make the owner sign in again.
            raise refused(OAuthReason.CODE_OF_OTHER_KEY)
        match await self.codes.consume(found):
            case Consumption.CONSUMED:
                pass
            case Consumption.ALREADY_USED:
                # Verifier and client are right, so two parties hold the owner's copy of the code. The grant of the
                # first redemption ends (RFC 6749 section 4.1.2). If it does not exist yet, `issuing` ends it.
                try:
                    self.audit.record(
                        EventKind.CODE_REPLAYED, client_id=client.client_id, grant_id=found.code.grant_id
                    )
                finally:  # also where it cannot be recorded
                    await self.end_grant(found.code.grant_id, client, GrantEnd.CODE_REPLAYED)
                raise refused(OAuthReason.CODE_USED_BEFORE)
            case Consumption.GONE:
                raise refused(OAuthReason.CODE_UNKNOWN)
        grant = token_requests.grant_from(found.code, now=self.clock(), lifetime=self.lifetime)
        audience = token_requests.narrow_resources(grant.resources, form, self.services)
        return NewGrant(
            grant,
            audience,
            token_requests.scopes_at(grant.scopes, audience, self.services),
            allowed_at=found.code.allowed_at,
            was_replayed=partial(self.codes.was_replayed, found),
        )


def _handler(deps: Deps) -> _Redemption:
    return _Redemption(
        deps.codes,
        deps.clients,
        partial(end_grant, deps),
        deps.services,
        deps.audit,
        deps.clock,
        deps.settings.refresh_token_lifetime,
    )


GRANT_TYPE = TokenGrant(
    name=AUTHORIZATION_CODE,
    registrable=Registrable.BY_ANY_CLIENT,
    gives_refresh_token=True,
    rule=any_client,  # `/authorize` gives codes only to clients that registered for them
    response_type="code",
    handler=_handler,
)
