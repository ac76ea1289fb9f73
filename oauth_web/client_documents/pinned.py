"""Pinned client documents: an operator ships them for known clients, and they are never fetched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oauth_core import strict_json
from oauth_core.clients import client_id_documents, redirect_uris
from oauth_core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from oauth_core.grant_types import GrantType
    from oauth_core.model import Client


def read_clients(
    folder: Path, grant_types: Sequence[GrantType], app_schemes: Collection[str] = redirect_uris.APP_SCHEMES
) -> dict[str, Client]:
    """The clients in every `*.json` in `folder`, by their URL. Raises `SettingsError` with every fault found."""
    faults: list[str] = []
    clients: dict[str, Client] = {}
    if not folder.is_dir():
        raise SettingsError([f"clients.pinned_documents: {folder} is not a folder"])
    for path in sorted(folder.glob("*.json")):
        try:
            client = _client(path, grant_types, app_schemes)
            if client.client_id in clients:
                raise ValueError(f"another file is for {client.client_id} too")
            clients[client.client_id] = client
        except (OSError, ValueError) as error:
            faults.append(f"clients.pinned_documents: {path}: {getattr(error, 'strerror', None) or error}")
    if faults:
        raise SettingsError(faults)
    return clients


def _client(path: Path, grant_types: Sequence[GrantType], app_schemes: Collection[str]) -> Client:
    body = path.read_bytes()
    document = strict_json.parse(body)
    url = document.get("client_id") if isinstance(document, dict) else None
    if not isinstance(url, str):
        raise ValueError("it has no client_id")  # noqa: TRY004 - a bad file, not a bad call
    # This URL is not fetched, but the rule that a client id is https applies to pinned clients too.
    client_id_documents.check_url(url, loopback=False)
    return client_id_documents.parse(body, url, grant_types=grant_types, app_schemes=app_schemes)
