"""`/authorize`: turns parameters into a valid `AuthorizationRequest`, or raises the right error.

The order matters for security: until the redirect URI is known to be the client's, errors are shown in place; only
afterwards are they sent to that URI (RFC 6749 section 4.1.2.1).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris
from oauth_core.errors import OAuthError
from oauth_core.grant_types import AUTHORIZATION_CODE, must_have_registered
from oauth_core.jose import cnf
from oauth_core.model import AuthorizationRequest
from oauth_core.policy import scopes
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from oauth_core.model import Client
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex

# base64url of a SHA-256: always 43 characters (RFC 7636 section 4.2).
_S256_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}\Z")


def validate(
    parameters: Parameters,
    client: Client,
    services: ServiceIndex,
    default_scopes: Sequence[str],
    *,
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
) -> AuthorizationRequest:
    """Check a request of `client`. Raises `DisplayedError` or `RedirectedError`, see above.

    `app_schemes` are the app schemes that redirect URIs may have (`oauth_core.clients.redirect_uris`).
    """
    # Checked here too: the client may have registered it with an older version or other settings.
    redirect_uri = redirect_uris.check(_redirect_uri(parameters, client), app_schemes)
    # A repeated state cannot be returned faithfully, so it is not returned at all.
    state: str | None = None
    try:
        state = parameters.get("state")
        parameters.check_unique()
        must_have_registered(AUTHORIZATION_CODE, client)
        return AuthorizationRequest(
            client_id=client.client_id,
            redirect_uri=redirect_uri,
            state=state,
            code_challenge=_code_challenge(parameters),
            dpop_key=_dpop_key(parameters),
            **scope_and_audience(parameters, services, default_scopes),
        )
    except OAuthError as error:
        raise error.redirected_to(redirect_uri, state) from None


def _redirect_uri(parameters: Parameters, client: Client) -> str:
    requested = parameters.get("redirect_uri")
    if requested is None:
        match client.redirect_uris:
            case (only,):
                return only
        raise refused(OAuthReason.REDIRECT_URI_AMBIGUOUS)
    if not redirect_uris.matches(client.redirect_uris, requested):
        raise refused(OAuthReason.REDIRECT_URI_UNKNOWN)
    return requested


def _code_challenge(parameters: Parameters) -> str:
    """Check the response type and PKCE: only `code` and S256 (OAuth 2.1 sections 4.1.1 and 7.5.2)."""
    if parameters.require("response_type") != "code":
        raise refused(OAuthReason.RESPONSE_TYPE_NOT_CODE)
    if parameters.get("response_mode") not in {None, "query"}:
        raise refused(OAuthReason.RESPONSE_MODE_NOT_QUERY)
    if parameters.get("request") or parameters.get("request_uri"):
        raise refused(OAuthReason.REQUEST_OBJECT)
    challenge = parameters.get("code_challenge")
    if challenge is None:
        raise refused(OAuthReason.NO_CODE_CHALLENGE)
    # A missing method would mean plain (RFC 7636 section 4.3), which protects nothing.
    if parameters.get("code_challenge_method") != "S256":
        raise refused(OAuthReason.CODE_CHALLENGE_NOT_S256)
    if not _S256_CHALLENGE.match(challenge):
        raise refused(OAuthReason.CODE_CHALLENGE_MALFORMED)
    return challenge


def _dpop_key(parameters: Parameters) -> str | None:
    """The DPoP key that the redemption of the code must prove, if the client names one (RFC 9449 section 10)."""
    key = parameters.get("dpop_jkt")
    if key is not None and not cnf.is_thumbprint(key):
        raise refused(OAuthReason.DPOP_JKT_MALFORMED)
    return key


def scope_and_audience(
    parameters: Parameters, services: ServiceIndex, default_scopes: Sequence[str]
) -> dict[str, tuple[str, ...]]:
    """The requested scopes, and the resources they are for (RFC 6749 section 3.3, RFC 8707 section 2).

    The registration does not limit scopes: step-up requests more than was registered. Scopes of no service are
    left out. If resources are named, scopes of other services are left out too, so that the person is asked only
    about what the client will use. If no requested scope exists here, the named resources decide. The token
    response contains the granted scopes.
    """
    targets = []
    for resource in parameters.all("resource"):
        service = services.by_resource(resource)
        if service is None:
            raise refused(OAuthReason.RESOURCE_UNKNOWN)
        targets.append(service)
    requested = tuple(s for s in scopes.parse(parameters.get("scope")) if s != scopes.OFFLINE_ACCESS)
    known = tuple(scope for scope in requested if scope in services.scopes)
    if known or (requested and not targets):
        fitting = frozenset(
            scope for service in targets or services.services for scope in scopes.of_service(service)
        )
        granted = tuple(scope for scope in known if scope in fitting)
        if not granted:
            raise refused(OAuthReason.SCOPES_OF_OTHERS if targets else OAuthReason.SCOPES_UNKNOWN)
    else:
        granted = tuple(dict.fromkeys(service.scope for service in targets)) or tuple(
            default_scopes or (service.scope for service in services.services)
        )
    audience = targets or services.reached_by(granted)
    return {"scopes": granted, "resources": tuple(dict.fromkeys(service.resource for service in audience))}
