"""The traits of a disabled client, by which another registration of the same app is found: metadata and addresses.

Each registration gets a new `client_id`, so a disabled client would otherwise come back by registering again. An
app can still come back with other metadata and another address; only an operator who limits registration prevents
that.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from oauth_core.clients import redirect_uris
from oauth_core.clients.client_id_documents import is_url
from oauth_core.crypto.credentials import hash_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oauth_core.model import Client

_NOT_METADATA = frozenset(
    {"client_id", "issued_at", "registration_token_hash", "registration_permissions", "invited", "secret_hash"}
)
"""These are new in each registration."""


def traits_of(client: Client) -> tuple[str, ...]:
    """Return hashes of what identifies `client` in another registration: its metadata and its addresses.

    A client with one of these traits is refused while `client` is disabled. The addresses of a machine client are
    no trait: it needs an operator's invitation, and the automatic response `disable_client` must not concern other
    apps. A document has addresses only, because its id already names the app.
    """
    addresses = addresses_of(client)
    if is_url(client.client_id):
        return traits_of_addresses(addresses)
    return (hash_secret(f"metadata {_metadata(client)}"), *traits_of_addresses(addresses))


def traits_of_addresses(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return the hashes of these addresses."""
    return tuple(hash_secret(f"address {address}") for address in addresses)


def addresses_of(client: Client) -> tuple[str, ...]:
    """Return the hosts and app schemes to which the client has people sent; none for a machine client."""
    return () if client.machine_scopes else addresses_in(client.redirect_uris)


def addresses_in(uris: Iterable[str]) -> tuple[str, ...]:
    """Return the hosts, and the schemes of apps, of redirect URIs that may be registered.

    Addresses on the user's own machine are left out: all programs there share them.
    """
    return tuple(sorted({_address(uri) for uri in uris if not redirect_uris.is_on_this_machine(uri)}))


def _address(uri: str) -> str:
    parts = urlsplit(uri)
    # Without the port, and without the dot at the end: both lead to the same owner.
    return f"https://{(parts.hostname or '').rstrip('.')}" if parts.scheme == "https" else f"{parts.scheme}:"


def _metadata(client: Client) -> str:
    said = {name: value for name, value in dataclasses.asdict(client).items() if name not in _NOT_METADATA}
    said["redirect_uris"] = sorted({redirect_uris.for_any_port(uri) for uri in client.redirect_uris})
    return json.dumps(said, sort_keys=True)
