"""`grant_type=refresh_token`: the token rotates, and an old one ends its family (OAuth 2.1 section 4.3).

`oauth_core.store.records.grants` decides, in one atomic step, whether a repeated token is a retry or theft.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.crypto.sealing import UnsealError
from oauth_core.errors import StoreUnavailableError
from oauth_core.flows import token_requests
from oauth_core.flows.notices import NoticeKind
from oauth_core.grant_types import REFRESH_TOKEN, Registrable, any_client
from oauth_core.limits.rate_limits import Limit
from oauth_core.refusals import OAuthReason, refused
from oauth_core.store.records.refresh_rotation import (
    FamilyGone,
    RefreshState,
    ReplayDetected,
    RestoredFamily,
    RetriedToken,
    RotationSucceeded,
)
from oauth_core.tokens import refresh_tokens
from oauth_web.client_auth import dpop_proof
from oauth_web.client_auth.client_certificate import caller_thumbprint, to_bind
from oauth_web.client_auth.siblings import may_act_for, record_sibling
from oauth_web.grants.token_grant import ContinuedGrant, TokenGrant
from oauth_web.guards.rate_limiting import enforce_limit
from oauth_web.http.client_addresses import caller_address
from oauth_web.login import membership
from oauth_web.login.eligibility import NotEligibleError
from oauth_web.runtime.ended_grants import GrantEnd, end_grant, here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.audit import AuditRecorder
    from oauth_core.model import Client, Grant, User
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.settings import WebSettings
    from oauth_core.store.clock import RedisClock
    from oauth_core.store.records.grants import GrantStore
    from oauth_core.store.records.revocation import Revocation
    from oauth_core.tokens.refresh_tokens import RefreshToken
    from oauth_web.client_documents.client_directory import ClientDirectory
    from oauth_web.login.eligibility import Member
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class _Refresh:
    settings: WebSettings
    services: ServiceIndex
    clients: ClientDirectory
    grants: GrantStore
    revocation: Revocation
    audit: AuditRecorder
    clock: RedisClock
    enforce_limit: Callable[[Limit, str], Awaitable[None]]
    record_sibling: Callable[[Client, Grant], Awaitable[None]]
    end_grant: Callable[[str, Client, GrantEnd], Awaitable[None]]
    give_notice_of_refusal: Callable[[str], Awaitable[None]]
    recheck_membership: Callable[[User, str | None], Awaitable[Member]]
    update_everything: Callable[[Member], Awaitable[int]]

    async def __call__(self, client: Client, form: Parameters) -> ContinuedGrant:
        """Rotate a refresh token, or answer a retry with the current one. Raises `DisplayedError`."""
        presented = refresh_tokens.parse(form.require("refresh_token"))
        grant = await self.grants.get(presented.grant_id) if presented else None
        # A machine client's grant has no user and never had a refresh token.
        if presented is None or grant is None or grant.user is None:
            raise refused(OAuthReason.REFRESH_TOKEN_NOT_VALID)
        if not await may_act_for(self.clients, client, grant.client_id):
            raise refused(OAuthReason.REFRESH_TOKEN_NOT_VALID)
        if await self.revocation.is_revoked(grant, allowed_at=grant.created_at):
            # A restored backup may contain a grant that was revoked after the backup was made.
            await self.end_grant(grant.grant_id, client, GrantEnd.REVOKED_BEFORE)
            raise refused(OAuthReason.REFRESH_TOKEN_NOT_VALID)
        await self.enforce_limit(Limit.TOKENS_PER_GRANT, grant.grant_id)
        certificate = grant.certificate or to_bind(self.settings, client)
        if grant.certificate is not None and grant.certificate != caller_thumbprint(self.settings):
            # This applies to clients with other authentication too: a grant is bound to one key for its lifetime.
            raise refused(OAuthReason.OTHER_CERTIFICATE)
        dpop_proof.check_binding(grant, client)
        audience = token_requests.narrow_resources(grant.resources, form, self.services)
        scope = token_requests.narrow_scopes(grant.scopes, form, self.services, ignores_unknown=True)
        scope = token_requests.scopes_at(scope, audience, self.services)
        grant = await self._checked_membership(grant, presented)
        successor = await self._successor(client, presented)
        if client.client_id != grant.client_id:
            await self.record_sibling(client, grant)
        return ContinuedGrant(grant, successor, audience, scope, certificate)

    async def _checked_membership(self, grant: Grant, presented: RefreshToken) -> Grant:
        """The grant with the user's current groups. If the user is no longer eligible, all their grants end.

        GitHub is not asked for an older token: it is refused, or its successor was used and checked just before.
        """
        asked_for = {RefreshState.CURRENT, RefreshState.PREVIOUS}
        if grant.user is None or await self.grants.state_of(presented) not in asked_for:
            return grant
        try:
            member = await self.recheck_membership(grant.user, grant.sealed_github_token)
        except NotEligibleError:
            raise refused(OAuthReason.USER_NO_LONGER_ELIGIBLE) from None
        if membership.is_as_granted(member, grant):
            return grant
        await self.update_everything(member)
        regrouped = await self.grants.get(grant.grant_id)
        if regrouped is None:
            raise refused(OAuthReason.GRANT_ENDED)
        return regrouped

    async def _successor(self, client: Client, presented: RefreshToken) -> RefreshToken:
        fresh = presented.successor()
        window = self.settings.refresh_retry_window
        source = caller_address()
        match await self.grants.rotate(
            presented,
            fresh,
            now=self.clock(),
            grace=self.settings.refresh_grace,
            retry_window=window,
            source=source,
        ):
            case RotationSucceeded():
                return fresh
            case RetriedToken(sealed, is_elsewhere):
                try:
                    successor = presented.unseal_successors(sealed)
                except UnsealError:
                    raise refused(OAuthReason.REFRESH_TOKEN_NOT_VALID) from None
                kind = EventKind.REFRESH_REPEATED_ELSEWHERE if is_elsewhere else EventKind.REFRESH_REPEATED
                self._record(kind, client, presented)
                return successor
            case ReplayDetected():
                if self.settings.refresh_reuse == "refuse":
                    self._record(EventKind.REFRESH_REUSED, client, presented)
                    await self.give_notice_of_refusal(presented.grant_id)
                    raise refused(OAuthReason.REFRESH_TOKEN_USED)
                try:
                    self._record(EventKind.REFRESH_REUSED, client, presented)
                finally:  # also where it cannot be recorded
                    await self.end_grant(presented.grant_id, client, GrantEnd.REFRESH_TOKEN_REUSED)
                raise refused(OAuthReason.REFRESH_TOKEN_REUSED)
            case RestoredFamily():
                await self.end_grant(presented.grant_id, client, GrantEnd.RESTORED)
                raise refused(OAuthReason.REFRESH_TOKEN_RESTORED)
            case FamilyGone():
                raise refused(OAuthReason.REFRESH_TOKEN_NOT_VALID)

    def _record(self, kind: EventKind, client: Client, presented: RefreshToken) -> None:
        self.audit.record(kind, client_id=client.client_id, grant_id=presented.grant_id)


async def _give_notice_of_refusal(deps: Deps, grant_id: str) -> None:
    with suppress(StoreUnavailableError):
        grant = await deps.grants.get(grant_id)
        await deps.notices.add_ended(
            [grant] if grant else [], here(NoticeKind.OLD_REFRESH_TOKEN_REFUSED, deps.clock)
        )


def _handler(deps: Deps) -> _Refresh:
    return _Refresh(
        deps.settings,
        deps.services,
        deps.clients,
        deps.grants,
        deps.revocation,
        deps.audit,
        deps.clock,
        partial(enforce_limit, deps),
        partial(record_sibling, deps),
        partial(end_grant, deps),
        partial(_give_notice_of_refusal, deps),
        partial(membership.recheck_membership, deps),
        partial(membership.update_everything, deps),
    )


GRANT_TYPE = TokenGrant(
    name=REFRESH_TOKEN,
    registrable=Registrable.WITH_OTHERS,
    rule=any_client,  # the refresh token names its grant, and the grant names its client
    handler=_handler,
)
