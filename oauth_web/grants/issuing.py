"""The last steps of every grant type: store the grant, issue its access token, and check for a revocation
meanwhile.

A handler decides and returns a `NewGrant` or a `ContinuedGrant`. Only this module stores grants and issues tokens,
so the order is defined here and no grant type can leave out a step:

0. Record what is about to be issued, where the audit record is on a disk of ours.
1. Add the grant to the grant index, so that a revocation finds it.
2. Create the grant.
3. Extend the lifetime of the client's record.
4. Issue the access token.
5. Check that no revocation, block, deletion or replay overtook the grant; if one did, end the grant.
6. Give the person a notice, and keep the number of the person's grants within its limit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import new_identifier
from oauth_core.flows import token_requests
from oauth_core.flows.notices import NoticeKind
from oauth_core.grant_types import JWT_BEARER
from oauth_core.policy import scopes
from oauth_core.refusals import OAuthReason, refused
from oauth_core.tokens import access_tokens, refresh_tokens
from oauth_web.client_auth import dpop_proof
from oauth_web.client_auth.client_certificate import to_bind
from oauth_web.http.responses import json_answer
from oauth_web.runtime.ended_grants import GrantEnd, end_grant, here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from quart import Response

    from oauth_core.model import Client, Grant
    from oauth_core.process.audit_output import DurableRecorder
    from oauth_core.settings import WebSettings
    from oauth_core.store.clock import RedisClock
    from oauth_core.store.records.grants import GrantStore
    from oauth_core.store.records.notices import NoticeStore
    from oauth_core.store.records.revocation import Revocation
    from oauth_core.store.records.users import UserStore
    from oauth_core.tokens.refresh_tokens import RefreshToken
    from oauth_web.client_documents.client_directory import ClientDirectory
    from oauth_web.grants.token_grant import ContinuedGrant, NewGrant, TokenGrant
    from oauth_web.runtime.deps import Deps
    from oauth_web.runtime.key_ring import FollowedKeyRing


_MOST_TRIES = 3


@dataclass(frozen=True)
class Issuing:
    """Issues tokens under grants. It has only the parts of `Deps` that it needs."""

    settings: WebSettings
    clients: ClientDirectory
    grants: GrantStore
    users: UserStore
    notices: NoticeStore
    revocation: Revocation
    keys: FollowedKeyRing
    audit: DurableRecorder
    clock: RedisClock
    end_grant: Callable[[str, Client, GrantEnd], Awaitable[None]]

    @classmethod
    def from_deps(cls, deps: Deps) -> Issuing:
        """With the stores and keys of this process."""
        return cls(
            deps.settings,
            deps.clients,
            deps.grants,
            deps.users,
            deps.notices,
            deps.revocation,
            deps.keys,
            deps.audit,
            deps.clock,
            partial(end_grant, deps),
        )

    async def issue_grant(self, grant_type: TokenGrant, client: Client, new: NewGrant) -> Response:
        """Store a new grant and answer with its first tokens. Raises `DisplayedError` when a revocation came
        meanwhile.
        """
        grant, certificate = new.grant, to_bind(self.settings, client)
        token = None
        if grant_type.gives_refresh_token:
            token = refresh_tokens.first_token(grant.grant_id)
            # Later tokens of the grant are bound to the same key (RFC 8705 section 4, RFC 9449 section 5).
            grant = replace(grant, certificate=certificate, dpop_key=dpop_proof.proven_key())
        await self.audit.intend(EventKind.TOKEN_ISSUED, grant=grant, scope=scopes.join(new.scope))
        # Before the grant exists: a revocation that starts now finds the grant in the index.
        await self.clients.index_grant(grant)
        await self.grants.create(grant, token)
        # The grant belongs to the client that the person allowed; `client` may be its sibling.
        await self.clients.keep_for(
            grant.client_id, grant.expires_at - grant.created_at, lifetime=self.settings.client_lifetime
        )
        answer = await self._issue(
            grant, token, new.audience, new.scope, kind=EventKind.TOKEN_ISSUED, certificate=certificate
        )
        await self._check_not_revoked(client, grant, new)
        await self._give_notice(grant_type, client, grant)
        await self._make_room(grant)
        return answer

    async def continue_grant(self, continued: ContinuedGrant) -> Response:
        """Answer with the next tokens of a grant. Raises `DisplayedError` when the grant has ended meanwhile."""
        await self.audit.intend(
            EventKind.TOKEN_REFRESHED, grant=continued.grant, scope=scopes.join(continued.scope)
        )
        return await self._issue(
            continued.grant,
            continued.refresh_token,
            continued.audience,
            continued.scope,
            kind=EventKind.TOKEN_REFRESHED,
            certificate=continued.certificate,
        )

    async def _check_not_revoked(self, client: Client, grant: Grant, new: NewGrant) -> None:
        """Pass unless an event during the creation of `grant` must end it; else end it, and raise.

        The check runs after the grant exists: a deletion, a revocation or a block is written first and looks for
        grants afterwards. So either it finds this grant, or this check sees what was written.
        """
        allowed_at = new.allowed_at
        if not await self.clients.exists(grant.client_id):
            await self._end(grant, client, GrantEnd.CLIENT_DELETED)
            raise refused(OAuthReason.CLIENT_DELETED)
        # `client` may be a sibling of the grant's client.
        if await self.clients.is_disabled(grant.client_id) or await self.clients.is_disabled(client.client_id):
            await self._end(grant, client, GrantEnd.CLIENT_DISABLED)
            raise refused(OAuthReason.CLIENT_DISABLED)
        if grant.user is not None and await self.users.block_of(grant.user.github_id) is not None:
            await self._end(grant, client, GrantEnd.USER_BLOCKED)
            raise refused(OAuthReason.USER_NOT_ELIGIBLE)
        if await self.revocation.is_revoked(
            grant, allowed_at=allowed_at
        ) or await self.revocation.is_unredeemed_void(grant, allowed_at=allowed_at):
            await self._end(grant, client, GrantEnd.REVOKED_UNREDEEMED)
            raise refused(OAuthReason.GRANT_REVOKED)
        if await new.was_replayed():
            await self._end(grant, client, GrantEnd.CODE_REPLAYED)
            raise refused(OAuthReason.CODE_REPLAYED)

    async def _end(self, grant: Grant, client: Client, why: GrantEnd) -> None:
        await self.end_grant(grant.grant_id, client, why)

    async def _give_notice(self, grant_type: TokenGrant, client: Client, grant: Grant) -> None:
        if grant.user is None:
            return
        kind = NoticeKind.APP_VOUCHED_FOR if grant_type.name == JWT_BEARER else NoticeKind.APP_ALLOWED
        notice = replace(
            here(kind, self.clock),
            client_id=grant.client_id,
            client_name=client.client_name,
            grant_id=grant.grant_id,
            until=grant.expires_at,
        )
        await self.notices.add(grant.user.github_id, notice)

    async def _make_room(self, newest: Grant) -> None:
        """Limit the grants of a person to `grants_per_user`.

        Otherwise one account could fill Redis where every GitHub user is eligible.
        """
        for grant_id in await self.grants.too_many_of_user(newest, most=self.settings.grants_per_user):
            old = await self.grants.get(grant_id)
            if old is None:
                continue
            reason = "its user has too many grants"
            await self.audit.intend_to_end(EventKind.GRANT_REVOKED, reason=reason, grant=old)
            if await self.grants.end(grant_id):
                self.audit.record(EventKind.GRANT_REVOKED, reason=reason, grant=old)
                await self.notices.add_ended([old], here(NoticeKind.TOO_MANY_APPS, self.clock))

    async def _issue(
        self,
        grant: Grant,
        token: RefreshToken | None,
        audience: tuple[str, ...],
        scope: tuple[str, ...],
        *,
        kind: EventKind,
        certificate: str | None,
    ) -> Response:
        """Create an access token, make it active, and return it (RFC 6749 section 5.1).

        It is bound to `certificate`, and to the key that this request proved to have.
        """
        for _ in range(_MOST_TRIES):
            claims = token_requests.claims_for(
                grant,
                issuer=self.settings.issuer,
                jti=new_identifier(),
                audience=audience,
                scope=scope,
                now=self.clock(),
                lifetime=self.settings.access_token_lifetime,
                certificate=certificate,
                dpop_key=dpop_proof.proven_key(),
            )
            access_token = access_tokens.mint(claims, self.keys.signing_key(claims.iat))
            if await self.grants.add_token(grant, claims):
                break
            current = await self.grants.get(grant.grant_id)
            if current is None:
                raise refused(OAuthReason.GRANT_ENDED)
            grant = current  # its user's groups changed during this step
        else:
            raise refused(OAuthReason.GRANT_CHANGES_TOO_FAST)
        self.audit.record(kind, grant=grant, jti=claims.jti, scope=claims.scope)
        answer: dict[str, object] = {
            "access_token": access_token,
            "token_type": access_tokens.type_of(claims),
            "expires_in": claims.exp - claims.iat,
            "scope": scopes.join(scope),
        }
        if token is not None:
            answer["refresh_token"] = str(token)
        return json_answer(answer)
