"""What every grant ends in: an access token brought to life and answered, or a grant ended."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from oauth_core.audit import AuditEvent, EventKind
from oauth_core.clients import client_authentication
from oauth_core.crypto.credentials import new_identifier
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.flows import token_requests
from oauth_core.policy import scopes
from oauth_core.tokens import access_tokens, refresh_tokens
from oauth_web.client_auth import dpop_proof
from oauth_web.client_auth.client_certificate import to_bind
from oauth_web.http.responses import json_answer

if TYPE_CHECKING:
    from quart import Response

    from oauth_core.model import Client, Grant
    from oauth_core.tokens.refresh_tokens import RefreshToken
    from oauth_web.runtime.deps import Deps


_MOST_TRIES = 3


async def begin_grant(
    deps: Deps, client: Client, grant: Grant, *, audience: tuple[str, ...], allowed_at: int
) -> Response:
    """Keep a grant that its user gave at second `allowed_at`, and answer its first tokens."""
    token = refresh_tokens.first(grant.grant_id)
    grant = replace(grant, certificate=to_bind(deps, client), dpop_key=dpop_proof.shown())
    lifetime = grant.expires_at - grant.created_at
    await deps.clients.remember_grant(grant)
    await deps.grants.create(grant, token)
    # The grant is that of the client that was allowed it, of which `client` may be a sibling.
    await deps.clients.keep_for(grant.client_id, lifetime)
    answer = await issue(
        deps,
        grant,
        token,
        audience=audience,
        scope=token_requests.scopes_at(grant.scopes, audience, deps.services),
        kind=EventKind.TOKEN_ISSUED,
        certificate=grant.certificate,
    )
    await check_not_overtaken(deps, client, grant, allowed_at=allowed_at)
    await _make_room(deps, grant)
    return answer


async def _make_room(deps: Deps, newest: Grant) -> None:
    """Keep the grants of a person to `grants_per_user`.

    Otherwise one account could fill Redis where everybody with a GitHub account may come in.
    """
    for grant_id in await deps.grants.too_many_of_user(newest, most=deps.settings.grants_per_user):
        old = await deps.grants.get(grant_id)
        if old is not None and await deps.grants.end(grant_id):
            deps.audit.record(
                AuditEvent(
                    EventKind.GRANT_REVOKED,
                    reason="its user has too many grants",
                    client_id=old.client_id,
                    user=old.user.login if old.user else None,
                    user_id=old.user.github_id if old.user else None,
                    grant_id=grant_id,
                )
            )


async def check_not_overtaken(deps: Deps, client: Client, grant: Grant, *, allowed_at: int) -> None:
    """Pass when nothing happened while `grant` was being made that must end it; else end it, and raise.

    Asked after the grant exists: whoever deletes, revokes or blocks looks for grants after saying so.
    """
    if not await deps.clients.exists(grant.client_id):
        await end_grant(deps, grant.grant_id, client, "client deleted")
        raise client_authentication.refused("the client was deleted", by_header=False)
    if grant.user is not None and await deps.users.block_of(grant.user.github_id) is not None:
        await end_grant(deps, grant.grant_id, client, "the user is blocked")
        raise invalid_grant("the user may not use this gateway")
    if await deps.revocation.is_cut_off(grant, allowed_at=allowed_at) or await deps.revocation.is_unredeemed_void(
        grant, allowed_at=allowed_at
    ):
        await end_grant(deps, grant.grant_id, client, "revoked before it was redeemed")
        raise invalid_grant("what was allowed has been revoked; sign in again")


async def issue(
    deps: Deps,
    grant: Grant,
    token: RefreshToken | None,
    *,
    audience: tuple[str, ...],
    scope: tuple[str, ...],
    kind: EventKind,
    certificate: str | None,
) -> Response:
    """Mint an access token, bring it to life, and answer it (RFC 6749 section 5.1).

    It is bound to `certificate`, and to the key that this request proved to have.
    """
    for _ in range(_MOST_TRIES):
        claims = token_requests.claims_for(
            grant,
            issuer=deps.settings.issuer,
            jti=new_identifier(),
            audience=audience,
            scope=scope,
            now=deps.clock(),
            lifetime=deps.settings.access_token_lifetime,
            certificate=certificate,
            dpop_key=dpop_proof.shown(),
        )
        access_token = access_tokens.mint(claims, deps.keys.signing_key(claims.iat))
        if await deps.grants.add_token(grant, claims):
            break
        current = await deps.grants.get(grant.grant_id)
        if current is None:
            raise invalid_grant("the grant has ended")
        grant = current  # its user's groups changed at this very moment
    else:
        raise DisplayedError(ErrorCode.TEMPORARILY_UNAVAILABLE, "try again in a moment", status=503)
    deps.audit.record(
        AuditEvent(
            kind,
            client_id=grant.client_id,
            user=grant.user.login if grant.user else None,
            user_id=grant.user.github_id if grant.user else None,
            grant_id=grant.grant_id,
            jti=claims.jti,
            scope=claims.scope,
        )
    )
    answer: dict[str, object] = {
        "access_token": access_token,
        "token_type": access_tokens.type_of(claims),
        "expires_in": claims.exp - claims.iat,
        "scope": scopes.join(scope),
    }
    if token is not None:
        answer["refresh_token"] = str(token)
    return json_answer(answer)


async def end_grant(deps: Deps, grant_id: str, client: Client, reason: str) -> None:
    """End a grant and all its tokens. The audit log says why, if there was something to end."""
    if not await deps.grants.end(grant_id):
        return
    deps.audit.record(
        AuditEvent(EventKind.GRANT_REVOKED, reason=reason, client_id=client.client_id, grant_id=grant_id)
    )


def invalid_grant(description: str) -> DisplayedError:
    """400 `invalid_grant` (RFC 6749 section 5.2)."""
    return DisplayedError(ErrorCode.INVALID_GRANT, description)
