"""Sibling clients: public clients that registered exactly the same metadata.

Real clients register again at each start and continue with the refresh token that they stored. The new record is a
sibling of the old one, and a sibling may use what the other was given: codes, refresh tokens and device codes.
This gives an attacker no new right. A public client does not authenticate (OAuth 2.1 section 2.1), so any holder
of such a token can use it with the `client_id` it was issued to, which is no secret. The token still belongs to
that client: revoking or deleting that client ends it, and deleting the sibling does not.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from oauth_core.clients import redirect_uris
from oauth_core.clients.client_authentication import is_public
from oauth_core.clients.client_id_documents import is_url

if TYPE_CHECKING:
    from oauth_core.model import Client

_NOT_METADATA = frozenset(
    {"client_id", "issued_at", "registration_token_hash", "registration_permissions", "invited"}
)


def may_act_for(client: Client, owner: Client | None) -> bool:
    """Whether `client` may use the rights of `owner`: it is that client, or its sibling."""
    if owner is None:
        return False
    return client.client_id == owner.client_id or are_siblings(client, owner)


def are_siblings(one: Client, other: Client) -> bool:
    """Whether both are public, registered themselves, and registered the same metadata.

    The ports of loopback redirect URIs do not count: the system chooses them (RFC 8252 section 7.3).
    """
    return _may_have_siblings(one) and _may_have_siblings(other) and _metadata(one) == _metadata(other)


def _may_have_siblings(client: Client) -> bool:
    # A client with a secret or a key authenticates, and no other client may act for it.
    return is_public(client) and not client.machine_scopes and not is_url(client.client_id)


def _metadata(client: Client) -> dict[str, object]:
    said = {name: value for name, value in dataclasses.asdict(client).items() if name not in _NOT_METADATA}
    return {**said, "redirect_uris": sorted({redirect_uris.for_any_port(uri) for uri in client.redirect_uris})}
