"""Remembered consent: the rights that a person allowed a client, and when the consent page may be skipped.

With a remembered consent a client gets a code without an action of the person. That is safe only if no other
program can receive the answer: at an https redirect URI, which only its owner can serve. Any program on the
machine that knows the client's id can take a loopback port or an app's own scheme, so there the person is asked
each time (RFC 8252 section 8.6, RFC 6749 section 10.2).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris
from oauth_core.crypto.credentials import hash_secret
from oauth_core.model import AuthorizationRequest

if TYPE_CHECKING:
    from oauth_core.model import AccountVisit, Client, DeviceRequest


@dataclass(frozen=True, slots=True)
class RememberedConsent:
    """The rights that a user allowed a client for later requests too, until the client changes or time ends."""

    client_id: str
    client_fingerprint: str
    redirect_uri: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    given_at: int
    expires_at: int


def fingerprint(client: Client) -> str:
    """A hash of the client as the person consented to it: it changes when the registration changes."""
    identity = (
        client.client_id,
        client.client_name,
        client.client_uri,
        sorted(client.redirect_uris),
        client.token_endpoint_auth_method,
        client.jwks,
        client.jwks_uri,
    )
    return hash_secret(json.dumps(identity))


def may_be_remembered(request: AuthorizationRequest | DeviceRequest | AccountVisit) -> bool:
    """Whether only the client can receive the answer to `request`. For a device the answer is always no."""
    return isinstance(request, AuthorizationRequest) and redirect_uris.is_https(request.redirect_uri)


def remember(
    request: AuthorizationRequest,
    client_fingerprint: str,
    known: RememberedConsent | None,
    *,
    now: int,
    lifetime: int,
) -> RememberedConsent:
    """The consent to store after a person allowed `request`; includes `known`, if that is of the same
    client.
    """
    fresh = RememberedConsent(
        client_id=request.client_id,
        client_fingerprint=client_fingerprint,
        redirect_uri=request.redirect_uri,
        scopes=request.scopes,
        resources=request.resources,
        given_at=now,
        expires_at=now + lifetime,
    )
    if known is None or not _is_same(known, request, client_fingerprint) or now >= known.expires_at:
        return fresh
    return replace(
        fresh,
        scopes=tuple(dict.fromkeys((*known.scopes, *request.scopes))),
        resources=tuple(dict.fromkeys((*known.resources, *request.resources))),
    )


def covers(
    known: RememberedConsent | None, request: AuthorizationRequest, client_fingerprint: str, *, now: int
) -> bool:
    """Return whether `known` is still valid and allows all of `request`, for the same client and redirect URI."""
    return (
        known is not None
        and now < known.expires_at
        and may_be_remembered(request)
        and _is_same(known, request, client_fingerprint)
        and set(request.scopes) <= set(known.scopes)
        and set(request.resources) <= set(known.resources)
    )


def _is_same(known: RememberedConsent, request: AuthorizationRequest, client_fingerprint: str) -> bool:
    return (known.client_id, known.client_fingerprint, known.redirect_uri) == (
        request.client_id,
        client_fingerprint,
        request.redirect_uri,
    )
