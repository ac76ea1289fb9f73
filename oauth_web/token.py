"""`/token`: a code, or a refresh token, becomes an access token (OAuth 2.1 sections 4.1.3 and 4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quart import Blueprint, Response

from oauth_core import access_tokens, client_authentication, grants, refresh_tokens, scopes
from oauth_core.audit import AuditEvent, EventKind
from oauth_core.credentials import new_identifier
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.sealing import UnsealError
from oauth_core.store.codes import Consumption
from oauth_core.store.grants import Gone, Repeated, Reused, Rotated
from oauth_web.answers import form_parameters, json_answer
from oauth_web.caller import authenticated

if TYPE_CHECKING:
    from oauth_core.model import Client, Grant
    from oauth_core.parameters import Parameters
    from oauth_core.refresh_tokens import RefreshToken
    from oauth_web.deps import Deps


def blueprint(deps: Deps) -> Blueprint:
    """The endpoint `/token`."""
    bp = Blueprint("token", __name__)

    @bp.post("/token")
    async def token() -> Response:
        form = await form_parameters()
        form.check_unique()
        client = await authenticated(deps, form)
        try:
            match form.require("grant_type"):
                case "authorization_code":
                    return await _redeem(deps, client, form)
                case "refresh_token":
                    return await _refresh(deps, client, form)
                case _:
                    raise DisplayedError(ErrorCode.UNSUPPORTED_GRANT_TYPE, "grant_type is not offered here")
        except DisplayedError as error:
            deps.audit.record(AuditEvent(EventKind.TOKEN_REFUSED, reason=str(error), client_id=client.client_id))
            raise

    return bp


async def _redeem(deps: Deps, client: Client, form: Parameters) -> Response:
    """Redeem a code: look, decide, and only then use it up, in one step of which one caller is told so."""
    found = await deps.codes.find(form.require("code"))
    if found is None:
        raise _invalid_grant("the code is unknown or has expired")
    grants.check_redemption(found.code, client, form, deps.services)
    match await deps.codes.consume(found):
        case Consumption.CONSUMED:
            pass
        case Consumption.ALREADY_USED:
            # Verifier and client are right, so this is the owner's copy: two parties hold the code. What the
            # first one was given ends (RFC 6749 section 4.1.2).
            deps.audit.record(
                AuditEvent(EventKind.CODE_REPLAYED, client_id=client.client_id, grant_id=found.code.grant_id)
            )
            await _end_grant(deps, found.code.grant_id, client, "code replayed")
            raise _invalid_grant("the code was used before; what it gave has been revoked")
        case Consumption.GONE:
            raise _invalid_grant("the code is unknown or has expired")
    lifetime = deps.settings.refresh_token_lifetime
    grant = grants.grant_from(found.code, now=deps.clock(), lifetime=lifetime)
    token = refresh_tokens.first(grant.grant_id)
    await deps.clients.remember_grant(client.client_id, grant.grant_id, lifetime)
    await deps.grants.create(grant, token)
    await deps.clients.keep_for(client.client_id, lifetime)
    audience = grants.narrow_resources(grant.resources, form, deps.services)
    answer = await _issue(deps, grant, token, audience=audience, scope=grant.scopes, kind=EventKind.TOKEN_ISSUED)
    # A client deleted while its code was being redeemed keeps nothing.
    if not await deps.clients.exists(client.client_id):
        await _end_grant(deps, grant.grant_id, client, "client deleted")
        raise client_authentication.refused("the client was deleted", by_header=False)
    return answer


async def _refresh(deps: Deps, client: Client, form: Parameters) -> Response:
    """Rotate a refresh token. The grace answers a repeat; a later repeat ends the family."""
    presented = refresh_tokens.parse(form.require("refresh_token"))
    grant = await deps.grants.get(presented.grant_id) if presented else None
    if presented is None or grant is None or grant.client_id != client.client_id:
        raise _invalid_grant("the refresh token is not valid")
    scope = grants.narrow_scopes(grant.scopes, form)
    audience = grants.narrow_resources(grant.resources, form, deps.services)
    successor = await _successor(deps, client, presented)
    return await _issue(deps, grant, successor, audience=audience, scope=scope, kind=EventKind.TOKEN_REFRESHED)


async def _successor(deps: Deps, client: Client, presented: RefreshToken) -> RefreshToken:
    fresh = presented.successor()
    match await deps.grants.rotate(presented, fresh, now=deps.clock()):
        case Rotated():
            return fresh
        case Repeated(sealed):
            try:
                return presented.unseal_successor(sealed)
            except UnsealError:
                raise _invalid_grant("the refresh token is not valid") from None
        case Reused():
            deps.audit.record(
                AuditEvent(EventKind.REFRESH_REUSED, client_id=client.client_id, grant_id=presented.grant_id)
            )
            await _end_grant(deps, presented.grant_id, client, "refresh token reused")
            raise _invalid_grant("the refresh token was used before; everything it led to has been revoked")
        case Gone():
            raise _invalid_grant("the refresh token is not valid")


async def _issue(
    deps: Deps,
    grant: Grant,
    token: RefreshToken,
    *,
    audience: tuple[str, ...],
    scope: tuple[str, ...],
    kind: EventKind,
) -> Response:
    """Mint an access token, bring it to life, and answer (RFC 6749 section 5.1)."""
    claims = grants.claims_for(
        grant,
        issuer=deps.settings.issuer,
        jti=new_identifier(),
        audience=audience,
        scope=scope,
        now=deps.clock(),
        lifetime=deps.settings.access_token_lifetime,
    )
    access_token = access_tokens.mint(claims, deps.keys.signing_key(claims.iat))
    if not await deps.grants.add_token(grant, claims):
        raise _invalid_grant("the grant has ended")
    deps.audit.record(
        AuditEvent(
            kind,
            client_id=grant.client_id,
            user=grant.user.login,
            user_id=grant.user.github_id,
            grant_id=grant.grant_id,
            jti=claims.jti,
            scope=claims.scope,
        )
    )
    return json_answer(
        {
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": claims.exp - claims.iat,
            "refresh_token": str(token),
            "scope": scopes.join(scope),
        }
    )


async def _end_grant(deps: Deps, grant_id: str, client: Client, reason: str) -> None:
    await deps.grants.end(grant_id)
    deps.audit.record(
        AuditEvent(EventKind.GRANT_REVOKED, reason=reason, client_id=client.client_id, grant_id=grant_id)
    )


def _invalid_grant(description: str) -> DisplayedError:
    return DisplayedError(ErrorCode.INVALID_GRANT, description)
