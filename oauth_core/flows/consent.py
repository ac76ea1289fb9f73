"""When somebody need not be asked again: what they allowed a client, and what of it may be remembered.

A remembered consent lets a client have a code without a person pressing anything. That is safe only where the
answer reaches nobody but that client: at an https redirect URI, which its owner alone can serve. A loopback port
or an app's own scheme can be taken by any program on the machine that knows the client's id, so there the person
is asked each time (RFC 8252 section 8.6, RFC 6749 section 10.2).
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
    """What a user allowed a client and wants not to be asked again, until the client changes or time runs out."""

    client_id: str
    client_fingerprint: str
    redirect_uri: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    given_at: int
    expires_at: int


def fingerprint(client: Client) -> str:
    """The client as a person agreed to it: when its registration changes, so does this."""
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


def may_be_remembered(asked: AuthorizationRequest | DeviceRequest | AccountVisit) -> bool:
    """Whether the answer to `asked` can only reach the client itself. A device's person is always asked."""
    return isinstance(asked, AuthorizationRequest) and redirect_uris.is_https(asked.redirect_uri)


def remember(
    asked: AuthorizationRequest,
    client_fingerprint: str,
    known: RememberedConsent | None,
    *,
    now: int,
    lifetime: int,
) -> RememberedConsent:
    """What to keep after a person allowed `asked`; with what is `known`, if that is of the same client."""
    fresh = RememberedConsent(
        client_id=asked.client_id,
        client_fingerprint=client_fingerprint,
        redirect_uri=asked.redirect_uri,
        scopes=asked.scopes,
        resources=asked.resources,
        given_at=now,
        expires_at=now + lifetime,
    )
    if known is None or not _is_same(known, asked, client_fingerprint) or now >= known.expires_at:
        return fresh
    return replace(
        fresh,
        scopes=tuple(dict.fromkeys((*known.scopes, *asked.scopes))),
        resources=tuple(dict.fromkeys((*known.resources, *asked.resources))),
    )


def covers(
    known: RememberedConsent | None, asked: AuthorizationRequest, client_fingerprint: str, *, now: int
) -> bool:
    """Whether `asked` is within what was allowed, of the same client, at the same address."""
    return (
        known is not None
        and now < known.expires_at
        and may_be_remembered(asked)
        and _is_same(known, asked, client_fingerprint)
        and set(asked.scopes) <= set(known.scopes)
        and set(asked.resources) <= set(known.resources)
    )


def _is_same(known: RememberedConsent, asked: AuthorizationRequest, client_fingerprint: str) -> bool:
    return (known.client_id, known.client_fingerprint, known.redirect_uri) == (
        asked.client_id,
        client_fingerprint,
        asked.redirect_uri,
    )
