"""`grant_type=refresh_token`: the token rotates, and an old one ends its family (OAuth 2.1 section 4.3).

`oauth_core.store.records.grants` decides, in one atomic step, whether a token that was used before is a retry or
theft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.crypto.sealing import UnsealError
from oauth_core.flows import token_requests
from oauth_core.limits.rate_limits import Limit
from oauth_core.store.records.refresh_rotation import Gone, RefreshState, Repeated, Restored, Reused, Rotated
from oauth_core.tokens import refresh_tokens
from oauth_web.client_auth import dpop_proof
from oauth_web.client_auth.client_certificate import shown, to_bind
from oauth_web.client_auth.siblings import keep_sibling, may_act_for
from oauth_web.grants.issuing import end_grant, invalid_grant, issue
from oauth_web.guards.rate_limiting import hold_back
from oauth_web.http.client_addresses import caller_address
from oauth_web.login import membership
from oauth_web.login.eligibility import NotAdmittedError

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import Client, Grant
    from oauth_core.parameters import Parameters
    from oauth_core.tokens.refresh_tokens import RefreshToken
    from oauth_web.runtime.deps import Deps


async def refresh(deps: Deps, client: Client, form: Parameters) -> Response:
    """Rotate a refresh token, or answer a retry with the current one. Raises `DisplayedError`."""
    presented = refresh_tokens.parse(form.require("refresh_token"))
    grant = await deps.grants.get(presented.grant_id) if presented else None
    # A machine client's grant has no user and never had a refresh token.
    if presented is None or grant is None or grant.user is None:
        raise invalid_grant("the refresh token is not valid")
    if not await may_act_for(deps, client, grant.client_id):
        raise invalid_grant("the refresh token is not valid")
    if await deps.revocation.is_cut_off(grant, allowed_at=grant.created_at):
        # A restored backup may bring back what was revoked after it was made.
        await end_grant(deps, grant.grant_id, client, "revoked before")
        raise invalid_grant("the refresh token is not valid")
    await hold_back(deps, Limit.TOKENS_PER_GRANT, grant.grant_id)
    certificate = grant.certificate or to_bind(deps, client)
    if grant.certificate is not None and grant.certificate != shown(deps):
        # Also of a client that proves itself otherwise: a grant is bound to one key for as long as it lives.
        raise invalid_grant("the refresh token is bound to another certificate (RFC 8705 section 4)")
    dpop_proof.check_binding(grant, client)
    audience = token_requests.narrow_resources(grant.resources, form, deps.services)
    scope = token_requests.narrow_scopes(grant.scopes, form, deps.services, ignores_unknown=True)
    scope = token_requests.scopes_at(scope, audience, deps.services)
    grant = await _with_standing(deps, grant, presented)
    successor = await _successor(deps, client, presented)
    if client.client_id != grant.client_id:
        await keep_sibling(deps, client, grant)
    return await issue(
        deps,
        grant,
        successor,
        audience=audience,
        scope=scope,
        kind=EventKind.TOKEN_REFRESHED,
        certificate=certificate,
    )


async def _with_standing(deps: Deps, grant: Grant, presented: RefreshToken) -> Grant:
    """The grant with the groups its user is in now. If they may not be here any more, all their grants end.

    GitHub is not asked for an older token: it is refused, or its successor was used, and checked, a moment ago.
    """
    asked_for = {RefreshState.CURRENT, RefreshState.PREVIOUS}
    if grant.user is None or await deps.grants.state_of(presented) not in asked_for:
        return grant
    try:
        member = await membership.look_again(deps, grant.user, grant.sealed_github_token)
    except NotAdmittedError:
        raise invalid_grant("the user may no longer use this gateway") from None
    if membership.is_as_granted(member, grant):
        return grant
    await membership.update_everything(deps, member)
    regrouped = await deps.grants.get(grant.grant_id)
    if regrouped is None:
        raise invalid_grant("the grant has ended")
    return regrouped


async def _successor(deps: Deps, client: Client, presented: RefreshToken) -> RefreshToken:
    fresh = presented.successor()
    window = deps.settings.refresh_retry_window
    match await deps.grants.rotate(presented, fresh, now=deps.clock(), retry_window=window):
        case Rotated():
            return fresh
        case Repeated(sealed):
            try:
                successor = presented.unseal_successors(sealed)
            except UnsealError:
                raise invalid_grant("the refresh token is not valid") from None
            _record(deps, EventKind.REFRESH_REPEATED, client, presented)
            return successor
        case Reused():
            _record(deps, EventKind.REFRESH_REUSED, client, presented)
            if deps.settings.refresh_reuse == "refuse":
                raise invalid_grant("the refresh token was used before")
            await end_grant(deps, presented.grant_id, client, "refresh token reused")
            raise invalid_grant("the refresh token was used before; everything it led to has been revoked")
        case Restored():
            await end_grant(deps, presented.grant_id, client, "refreshed after the backup that was restored")
            raise invalid_grant("the refresh token is not valid; sign in again")
        case Gone():
            raise invalid_grant("the refresh token is not valid")


def _record(deps: Deps, kind: EventKind, client: Client, presented: RefreshToken) -> None:
    deps.audit.record(
        AuditEvent(kind, client_id=client.client_id, grant_id=presented.grant_id, source=caller_address())
    )
