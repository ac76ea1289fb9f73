"""Client registration (RFC 7591) and management (RFC 7592): from a client's request to a `Client`, and back.

`oauth_core.clients.client_metadata` reads the client's metadata. The answer is strict: unset members are left out,
never null.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris, registration_permissions
from oauth_core.clients.client_metadata import (
    CERTIFICATE_BOUND,
    DPOP_BOUND,
    UNUSED_TEXTS,
    UNUSED_URIS,
    chosen_members,
    fitted,
)
from oauth_core.crypto.credentials import hash_secret, new_identifier, new_secret, secret_matches
from oauth_core.model import Client
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from oauth_core.grant_types import GrantType

_SECRET_METHODS = frozenset({"client_secret_basic", "client_secret_post"})


@dataclass(frozen=True)
class RegistrationResult:
    """A new or changed client, with secrets that are shown only once. `None`: unchanged, or none needed.

    `repr` leaves the secrets out.
    """

    client: Client
    secret: str | None = field(repr=False)
    registration_token: str | None = field(repr=False)


def register(
    document: object,
    *,
    now: int,
    grant_types: Sequence[GrantType],
    permissions: tuple[str, ...] = registration_permissions.ALL,
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
    known_scopes: Collection[str] | None = None,
    machine_scopes: tuple[str, ...] = (),
    invited: bool = False,
) -> RegistrationResult:
    """Make a client from a registration request's JSON (RFC 7591 section 2).

    `grant_types` are those that this gateway offers.
    `permissions` are those of its registration token; `machine_scopes` limit what it may do as itself. Scopes not
    among `known_scopes` are left out. `invited` is true if an operator's initial access token was sent.
    Raises `DisplayedError` with `invalid_client_metadata` or `invalid_redirect_uri`.
    """
    members = chosen_members(
        document,
        grant_types=grant_types,
        app_schemes=app_schemes,
        known_scopes=known_scopes,
        machine_scopes=machine_scopes,
    )
    token = new_secret()
    secret = new_secret() if members["token_endpoint_auth_method"] in _SECRET_METHODS else None
    client = Client(
        client_id=new_identifier(),
        issued_at=now,
        registration_token_hash=hash_secret(token),
        secret_hash=hash_secret(secret) if secret else None,
        registration_permissions=permissions,
        invited=invited,
        **members,
    )
    return RegistrationResult(fitted(client), secret, token)


def update(
    client: Client,
    document: object,
    *,
    grant_types: Sequence[GrantType],
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
    known_scopes: Collection[str] | None = None,
) -> RegistrationResult:
    """Replace the metadata of `client` (RFC 7592 section 2.2): members left out are dropped.

    The id and, if given, the secret must be the client's own. A client that becomes confidential gets a secret;
    one that becomes public loses it; one that has a secret and names no method keeps both. The rights that an
    operator gave it to act as itself are dropped. Raises `DisplayedError`.
    """
    if not isinstance(document, dict) or document.get("client_id") != client.client_id:
        raise refused(OAuthReason.UPDATE_OF_ANOTHER)
    for forbidden in (
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    ):
        if forbidden in document:
            raise refused(OAuthReason.UPDATE_WITH_MEMBER, member=forbidden)
    given = document.get("client_secret")
    if given is not None and not _is_secret_of(client, given):
        raise refused(OAuthReason.UPDATE_WITH_OTHER_SECRET)
    members = chosen_members(
        document,
        grant_types=grant_types,
        kept_method=client.token_endpoint_auth_method if client.secret_hash else None,
        app_schemes=app_schemes,
        known_scopes=known_scopes,
    )
    secret: str | None = None
    secret_hash = client.secret_hash
    if members["token_endpoint_auth_method"] not in _SECRET_METHODS:
        secret_hash = None
    elif secret_hash is None:
        secret = new_secret()
        secret_hash = hash_secret(secret)
    changed = Client(
        client_id=client.client_id,
        issued_at=client.issued_at,
        registration_token_hash=client.registration_token_hash,
        secret_hash=secret_hash,
        registration_permissions=client.registration_permissions,
        # The operator's invitation covers only the addresses that were registered with it.
        invited=client.invited and set(members["redirect_uris"]) <= set(client.redirect_uris),
        **members,
    )
    return RegistrationResult(fitted(changed), secret, None)


def client_information(registered: RegistrationResult, *, issuer: str) -> dict[str, object]:
    """The answer of every registration endpoint (RFC 7591 section 3.2.1, RFC 7592 section 3)."""
    client = registered.client
    answer: dict[str, object] = {
        "client_id": client.client_id,
        "client_id_issued_at": client.issued_at,
        "redirect_uris": list(client.redirect_uris),
        "token_endpoint_auth_method": client.token_endpoint_auth_method,
        "grant_types": list(client.grant_types),
        "response_types": list(client.response_types),
    }
    if registered.registration_token:
        answer["registration_client_uri"] = f"{issuer}/register/{client.client_id}"
        answer["registration_access_token"] = registered.registration_token
    if registered.secret:
        answer["client_secret"] = registered.secret
    if client.secret_hash:
        answer["client_secret_expires_at"] = 0
    for name in ("client_name", "client_uri", *UNUSED_TEXTS, *UNUSED_URIS, "scope"):
        if (value := getattr(client, name)) is not None:
            answer[name] = value
    if client.contacts:
        answer["contacts"] = list(client.contacts)
    if client.certificate_bound:
        answer[CERTIFICATE_BOUND] = True
    if client.dpop_bound:
        answer[DPOP_BOUND] = True
    if client.jwks:
        answer["jwks"] = json.loads(client.jwks)
    if client.jwks_uri:
        answer["jwks_uri"] = client.jwks_uri
    return answer


def _is_secret_of(client: Client, given: object) -> bool:
    return isinstance(given, str) and client.secret_hash is not None and secret_matches(given, client.secret_hash)
