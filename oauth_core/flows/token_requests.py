"""The decisions of the token endpoint, as pure functions: redeeming a code, and the scope of a refresh.

They do not decide whether a code or a refresh token was used before: only the store can know that, in the same
step that uses it up (`oauth_core.store.records.authorization_codes`, `oauth_core.store.records.grants`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris, siblings
from oauth_core.crypto.credentials import hash_secret, pkce_matches
from oauth_core.model import AccessClaims, Grant
from oauth_core.policy import scopes
from oauth_core.policy.permissions import implies
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.model import AuthorizationCode, Client
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex

# 43 to 128 unreserved characters (RFC 7636 section 4.1)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


def check_redemption(
    code: AuthorizationCode,
    client: Client,
    form: Parameters,
    services: ServiceIndex,
    *,
    owner: Client | None = None,
) -> None:
    """Pass when `client` may redeem `code` with the form that it sent; else raise `DisplayedError`.

    `owner` is the client to which the code was issued, if it is another: its sibling may redeem the code.

    The code is used up only after this check, so a caller that finds a code cannot void it without the verifier.
    """
    request = code.request
    owner = owner or client
    if request.client_id != owner.client_id or not siblings.may_act_for(client, owner):
        raise refused(OAuthReason.CODE_OF_ANOTHER)
    # OAuth 2.1 has no redirect_uri here: the verifier binds the code. A client of OAuth 2.0 sends it, and then it
    # must be the same (OAuth 2.1 section 10.2).
    if form.get("redirect_uri") not in {None, request.redirect_uri}:
        raise refused(OAuthReason.CODE_OTHER_REDIRECT)
    verifier = form.get("code_verifier")
    if verifier is None or not _VERIFIER.match(verifier):
        raise refused(OAuthReason.CODE_VERIFIER_MALFORMED)
    if not pkce_matches(verifier, request.code_challenge):
        raise refused(OAuthReason.CODE_VERIFIER_WRONG)
    narrow_resources(request.resources, form, services)


def narrow_resources(granted: tuple[str, ...], form: Parameters, services: ServiceIndex) -> tuple[str, ...]:
    """The audience of the token: the requested `resource` values, if all were granted (RFC 8707 section 2.2)."""
    requested = []
    for resource in form.all("resource"):
        service = services.by_resource(resource)
        if service is None or service.resource not in granted:
            raise refused(OAuthReason.RESOURCE_NOT_GRANTED)
        requested.append(service.resource)
    return tuple(requested) or granted


def narrow_scopes(
    granted: tuple[str, ...], form: Parameters, services: ServiceIndex, *, ignores_unknown: bool = False
) -> tuple[str, ...]:
    """The scopes of a refreshed token: at most those that were granted (RFC 6749 section 6).

    A request may name a part of a granted bundle. With `ignores_unknown`, scopes that do not exist here are left
    out, as at `/authorize`: clients repeat the scopes that they requested there.
    """
    requested = tuple(s for s in scopes.parse(form.get("scope")) if s != scopes.OFFLINE_ACCESS)
    if ignores_unknown:
        requested = tuple(scope for scope in requested if scope in services.scopes or scope in granted)
    parts = services.scopes & frozenset(scope for scope in requested if implies(frozenset(granted), scope))
    if any(scope not in granted and scope not in parts for scope in requested):
        raise refused(OAuthReason.SCOPE_NOT_GRANTED)
    return requested or granted


def scopes_at(granted: tuple[str, ...], audience: tuple[str, ...], services: ServiceIndex) -> tuple[str, ...]:
    """The `granted` scopes of the services in `audience`; all if there is none.

    A token for one service must not reveal to that service the user's rights at other services.
    """
    useful = frozenset(
        scope
        for service in services.services
        if service.resource in audience
        for scope in scopes.of_service(service)
    )
    return tuple(scope for scope in granted if scope in useful) or granted


def grant_from(code: AuthorizationCode, *, now: int, lifetime: int) -> Grant:
    """The grant for a redeemed `code`; `lifetime` is in seconds."""
    return Grant(
        grant_id=code.grant_id,
        client_id=code.request.client_id,
        user=code.user,
        scopes=code.request.scopes,
        resources=code.request.resources,
        created_at=now,
        expires_at=now + lifetime,
        sealed_github_token=code.sealed_github_token,
        groups=code.groups,
        redirect_uri_hash=None
        if redirect_uris.is_on_this_machine(code.request.redirect_uri)
        else hash_secret(code.request.redirect_uri),
    )


def claims_for(
    grant: Grant,
    *,
    issuer: str,
    jti: str,
    audience: tuple[str, ...],
    scope: tuple[str, ...],
    now: int,
    lifetime: int,
    certificate: str | None = None,
    dpop_key: str | None = None,
) -> AccessClaims:
    """The claims of an access token under `grant`, bound to `certificate` and `dpop_key`.

    The token never outlives the grant.
    """
    return AccessClaims(
        iss=issuer,
        sub=grant.subject,
        aud=audience,
        exp=min(now + lifetime, grant.expires_at),
        iat=now,
        jti=jti,
        client_id=grant.client_id,
        scope=scopes.join(scope),
        github_user=grant.user.login if grant.user else None,
        github_id=grant.user.github_id if grant.user else None,
        groups=grant.groups if grant.user else (),
        certificate=certificate,
        dpop_key=dpop_key,
    )
