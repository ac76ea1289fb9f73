"""The grant of an identity assertion (ID-JAG): an identity provider vouches for a person, and nobody signs in.

Whoever can prove to be the client and has the assertion acts as that person. So only clients that prove who they
are may, each assertion is good once, and admission, blocks and revocations count as at a sign-in. There is no
refresh token: the client asks the provider again, who may then say no (draft section 4.4.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.crypto.credentials import new_identifier
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows import id_jag
from oauth_core.flows.id_jag import IdentityFault
from oauth_core.model import Grant, KnownUser
from oauth_web.client_auth.client_certificate import to_bind
from oauth_web.grants.issuing import check_not_overtaken, invalid_grant, issue
from oauth_web.http.client_addresses import caller_address
from oauth_web.login import membership
from oauth_web.login.eligibility import NotAdmittedError

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.flows.id_jag import Asserted, TrustedIssuer
    from oauth_core.model import Client, User
    from oauth_core.parameters import Parameters
    from oauth_web.login.eligibility import Member
    from oauth_web.runtime.deps import Deps


async def exchange(deps: Deps, client: Client, form: Parameters) -> Response:
    """Answer an access token for the person whom the assertion names. Raises `DisplayedError`."""
    if client.token_endpoint_auth_method == "none":
        raise DisplayedError(
            ErrorCode.UNAUTHORIZED_CLIENT, "only clients that prove who they are may present an assertion"
        )
    trusted, asserted = await _checked(deps, client, form.require("assertion"))
    user = id_jag.user_of(asserted, trusted)
    if user is None:
        raise invalid_grant("the assertion does not say which GitHub account its subject has")
    scope, audience = id_jag.narrowed(asserted, form, deps.services)
    # What GitHub said when they signed in here outweighs what somebody else says they are called.
    known = await deps.users.get(user.github_id)
    user = user if known is None else known.user
    member = await _admitted(deps, client, user)
    user = member.user
    # Only now: what fails for another reason may be tried again with the same assertion.
    # No client_id has a space, so a client's own assertions are other names.
    if not await deps.assertions.use(
        f"id-jag {trusted.issuer}", asserted.jti, until=asserted.until, now=deps.clock(), caller=caller_address()
    ):
        raise invalid_grant(IdentityFault.USED_BEFORE)
    now = deps.clock()
    if known is None:
        await deps.users.remember(KnownUser(user, now, is_vouched_for=True))
    grant = Grant(
        grant_id=new_identifier(),
        client_id=client.client_id,
        user=user,
        scopes=scope,
        resources=audience,
        created_at=now,
        expires_at=now + deps.settings.access_token_lifetime,
        groups=member.groups,
    )
    await deps.clients.remember_grant(grant)
    await deps.grants.create(grant, None)
    await deps.clients.keep_for(client.client_id, grant.expires_at - now)
    deps.audit.record(
        AuditEvent(
            EventKind.IDENTITY_ASSERTED,
            reason=f"{asserted.subject} of {trusted.issuer}",
            client_id=client.client_id,
            user=user.login,
            user_id=user.github_id,
            grant_id=grant.grant_id,
        )
    )
    answer = await issue(
        deps,
        grant,
        None,
        audience=audience,
        scope=scope,
        kind=EventKind.TOKEN_ISSUED,
        certificate=to_bind(deps, client),
    )
    # What was vouched for before somebody was cut off is as void as a code that they had not redeemed.
    await check_not_overtaken(deps, client, grant, allowed_at=min(asserted.issued_at, now))
    return answer


async def _checked(deps: Deps, client: Client, assertion: str) -> tuple[TrustedIssuer, Asserted]:
    """The assertion, if it is genuine and for this client, and who made it. Raises `DisplayedError`."""
    said = id_jag.read(assertion)
    if isinstance(said, IdentityFault):
        raise invalid_grant(said)
    trusted = deps.identity_providers.find(said.issuer, client_id=client.client_id)
    if trusted is None:
        raise invalid_grant(IdentityFault.WRONG_ISSUER)
    try:
        keys = await deps.identity_providers.keys(trusted, kid=said.kid)
    except ValueError as error:
        raise invalid_grant(str(error)) from None
    verdict = id_jag.check(
        assertion,
        keys,
        trusted,
        client_id=client.client_id,
        audience=deps.settings.issuer,
        now=deps.clock(),
    )
    if isinstance(verdict, IdentityFault):
        raise invalid_grant(verdict)
    return trusted, verdict


async def _admitted(deps: Deps, client: Client, user: User) -> Member:
    """`user` and their groups, if they may be here. Raises `DisplayedError`, and audits it."""
    try:
        member = await membership.look_again(deps, user, None)
    except NotAdmittedError as error:
        deps.audit.record(
            AuditEvent(
                EventKind.SIGN_IN_REFUSED,
                reason=str(error),
                client_id=client.client_id,
                user=user.login,
                user_id=user.github_id,
            )
        )
        raise invalid_grant("the user may not use this gateway") from None
    await membership.update_everything(deps, member)
    return member
