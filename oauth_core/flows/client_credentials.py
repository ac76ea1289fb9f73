"""Machine clients: programs that act as themselves, with no person behind them (OAuth 2.1 section 4.2).

Anyone may register a client, so a registration alone gives a program no rights of its own. A machine client is one
that the operator made by command, or that registered with an initial access token which the operator made for this
purpose; the operator always chooses its scopes. No other HTTP request sets `Client.machine_scopes`, and an update
over HTTP drops them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from oauth_core.clients.registration import RegistrationResult
from oauth_core.crypto.credentials import hash_secret, new_identifier, new_secret
from oauth_core.flows import token_requests
from oauth_core.grant_types import CLIENT_CREDENTIALS, JWT_BEARER
from oauth_core.model import Client, Grant
from oauth_core.policy.permissions import implies
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from oauth_core.parameters import Parameters
    from oauth_core.policy.resources import ServiceIndex


Method = Literal["client_secret_basic", "client_secret_post", "private_key_jwt"]
"""The authentication methods of a machine client that the operator makes."""

_GRANT_LIFETIME = 86_400
"""Seconds; the longest lifetime of an access token, so that the grant still knows each token that can be active.
"""


def create(
    name: str,
    method: Method,
    scopes: tuple[str, ...],
    *,
    now: int,
    identity_assertions: bool = False,
    jwks: str | None = None,
    jwks_uri: str | None = None,
) -> RegistrationResult:
    """A new machine client and its secret. It has no registration token: only the operator manages it.

    With `private_key_jwt` it has no secret but keys, by value or by address, as in `Client`. With
    `identity_assertions` it acts for people whom an identity provider vouches for; without scopes it acts for them
    only.
    """
    grant_types = (CLIENT_CREDENTIALS,) if scopes else ()
    if identity_assertions:
        grant_types = (*grant_types, JWT_BEARER)
    secret = None if method == "private_key_jwt" else new_secret()
    client = Client(
        client_id=new_identifier(),
        issued_at=now,
        registration_token_hash=hash_secret(new_secret()),
        token_endpoint_auth_method=method,
        redirect_uris=(),
        grant_types=grant_types,
        response_types=(),
        secret_hash=hash_secret(secret) if secret else None,
        client_name=name,
        machine_scopes=scopes,
        jwks=jwks,
        jwks_uri=jwks_uri,
    )
    return RegistrationResult(client, secret, None)


def grant_for(client: Client, services: ServiceIndex, *, now: int) -> Grant:
    """The rights that the operator allows `client` now. Raises `DisplayedError`, `unauthorized_client`.

    The grant has the client's own id: all tokens of one machine client belong to one grant, and end with it. A
    scope of a service that is no longer in the settings has no effect and is left out.
    """
    scopes = tuple(scope for scope in client.machine_scopes if scope in services.scopes)
    reached = services.reached_by(scopes)
    # A public client has no credential, so any caller that knows its id could act as it.
    if not reached or client.token_endpoint_auth_method == "none" or CLIENT_CREDENTIALS not in client.grant_types:
        raise refused(OAuthReason.NO_MACHINE)
    return Grant(
        grant_id=client.client_id,
        client_id=client.client_id,
        scopes=scopes,
        resources=tuple(service.resource for service in reached),
        created_at=now,
        expires_at=now + _GRANT_LIFETIME,
    )


def narrowed(grant: Grant, form: Parameters, services: ServiceIndex) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Scopes and audience of a token under `grant`; neither exceeds the other or the request.

    Raises `DisplayedError`: `invalid_scope` or `invalid_target`.
    """
    scopes = token_requests.narrow_scopes(grant.scopes, form, services, ignores_unknown=True)
    reached = tuple(service.resource for service in services.reached_by(scopes))
    audience = token_requests.narrow_resources(reached, form, services)
    targets = [service for service in services.services if service.resource in audience]
    useful = tuple(
        scope
        for scope in scopes
        if any(implies(frozenset({scope}), name) for service in targets for name in service.permissions)
    )
    return useful, audience
