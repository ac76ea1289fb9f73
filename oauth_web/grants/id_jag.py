"""The ID-JAG grant: an identity provider vouches for a person, who does not sign in here.

A caller that authenticates as the client and has the assertion acts as that person. So only clients that
authenticate may use the grant, each assertion is valid once, and eligibility, blocks and revocations apply as at a
sign-in. There is no refresh token: the client asks the provider again, which may then refuse (draft section
4.4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from oauth_core.audit import EventKind
from oauth_core.crypto.credentials import new_identifier
from oauth_core.flows import id_jag
from oauth_core.flows.id_jag import IdentityFault
from oauth_core.grant_types import JWT_BEARER, Registrable
from oauth_core.model import Grant, KnownUser
from oauth_core.refusals import OAuthReason, refused
from oauth_web.grants.token_grant import NewGrant, TokenGrant
from oauth_web.http.client_addresses import caller_address
from oauth_web.login import membership
from oauth_web.login.eligibility import NotEligibleError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oauth_core.audit import AuditRecorder
    from oauth_core.flows.id_jag import IdentityAssertion, TrustedIssuer
    from oauth_core.model import Client, User
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex
    from oauth_core.settings import WebSettings
    from oauth_core.store.clock import RedisClock
    from oauth_core.store.records.assertions import AssertionStore
    from oauth_core.store.records.users import UserStore
    from oauth_web.client_documents.trusted_issuers import TrustedIssuers
    from oauth_web.login.eligibility import Member
    from oauth_web.runtime.deps import Deps


@dataclass(frozen=True)
class _Exchange:
    settings: WebSettings
    services: ServiceIndex
    issuers: TrustedIssuers
    assertions: AssertionStore
    users: UserStore
    audit: AuditRecorder
    clock: RedisClock
    recheck_membership: Callable[[User, str | None], Awaitable[Member]]
    update_everything: Callable[[Member], Awaitable[int]]

    async def __call__(self, client: Client, form: Parameters) -> NewGrant:
        """Grant the rights that the assertion gives for its person. Raises `DisplayedError`."""
        trusted, asserted = await self._checked(client, form.require("assertion"))
        user = id_jag.user_of(asserted, trusted)
        if user is None:
            raise refused(OAuthReason.ASSERTION_WITHOUT_ACCOUNT)
        scope, audience = id_jag.narrowed(asserted, form, self.services)
        # The login from a sign-in at GitHub takes precedence over the login in the assertion.
        known = await self.users.get(user.github_id)
        user = user if known is None else known.user
        member = await self._eligible_member(client, user)
        user = member.user
        # Only now: a request that failed for another reason may be repeated with the same assertion.
        # No client_id contains a space, so this name cannot collide with a client's own assertions.
        if not await self.assertions.use(
            f"id-jag {trusted.issuer}",
            asserted.jti,
            until=asserted.until,
            now=self.clock(),
            caller=caller_address(),
        ):
            raise refused(IdentityFault.USED_BEFORE.reason)
        now = self.clock()
        if known is None:
            await self.users.record_user(KnownUser(user, now, is_vouched_for=True))
        grant = Grant(
            grant_id=new_identifier(),
            client_id=client.client_id,
            user=user,
            scopes=scope,
            resources=audience,
            created_at=now,
            expires_at=now + self.settings.access_token_lifetime,
            groups=member.groups,
        )
        self.audit.record(
            EventKind.IDENTITY_ASSERTED,
            reason=f"{asserted.subject} of {trusted.issuer}",
            client_id=client.client_id,
            user=user,
            grant_id=grant.grant_id,
        )
        # A later revocation voids an earlier assertion, as it voids a code that was not redeemed.
        return NewGrant(grant, audience, scope, allowed_at=min(asserted.issued_at, now))

    async def _checked(self, client: Client, assertion: str) -> tuple[TrustedIssuer, IdentityAssertion]:
        """The assertion and its issuer, if it is genuine and for this client. Raises `DisplayedError`."""
        said = id_jag.parse_unverified(assertion)
        if isinstance(said, IdentityFault):
            raise refused(said.reason)
        trusted = self.issuers.find(said.issuer, client_id=client.client_id)
        if trusted is None:
            raise refused(IdentityFault.WRONG_ISSUER.reason)
        try:
            keys = await self.issuers.keys(trusted, kid=said.kid)
        except ValueError as error:
            raise refused(OAuthReason.ISSUER_KEYS_UNUSABLE, fault=error) from None
        verdict = id_jag.check(
            assertion,
            keys,
            trusted,
            client_id=client.client_id,
            audience=self.settings.issuer,
            now=self.clock(),
        )
        if isinstance(verdict, IdentityFault):
            raise refused(verdict.reason)
        return trusted, verdict

    async def _eligible_member(self, client: Client, user: User) -> Member:
        """`user` and their groups, if they are eligible. Raises `DisplayedError`, and audits it."""
        try:
            member = await self.recheck_membership(user, None)
        except NotEligibleError as error:
            self.audit.record(EventKind.SIGN_IN_REFUSED, reason=str(error), client_id=client.client_id, user=user)
            raise refused(OAuthReason.USER_NOT_ELIGIBLE) from None
        await self.update_everything(member)
        return member


def _handler(deps: Deps) -> _Exchange:
    return _Exchange(
        deps.settings,
        deps.services,
        deps.trusted_issuers,
        deps.assertions,
        deps.users,
        deps.audit,
        deps.clock,
        partial(membership.recheck_membership, deps),
        partial(membership.update_everything, deps),
    )


def _proves_itself(_name: str, client: Client) -> None:
    """Pass when the client authenticates. A public client could be any caller that has an assertion."""
    if client.token_endpoint_auth_method == "none":
        raise refused(OAuthReason.ASSERTION_BY_PUBLIC_CLIENT)


GRANT_TYPE = TokenGrant(
    name=JWT_BEARER,
    registrable=Registrable.NEVER,
    rule=_proves_itself,
    setting="trusted_issuers",
    metadata=lambda _issuer: {"authorization_grant_profiles_supported": [id_jag.PROFILE]},
    handler=_handler,
)
