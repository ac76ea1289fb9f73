"""Clients whose id is the URL of a document that describes them (draft-ietf-oauth-client-id-metadata-document).

What is proven is who controls that URL, so its host is what people are shown. Everything else in the document is
the client's own word, and goes through the rules that a registration does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oauth_core import fetchable_urls, redirect_uris, strict_json
from oauth_core.client_metadata import chosen_members
from oauth_core.errors import DisplayedError
from oauth_core.model import Client

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

METHODS = ("none", "private_key_jwt")
"""How such a client may authenticate: there is nobody to share a secret with."""


def is_url(client_id: str) -> bool:
    """Whether `client_id` means to be a URL, fit or not; ids that we give out never look like one."""
    return client_id.startswith(("https://", "http://"))


def check_url(client_id: str, *, loopback: bool) -> str:
    """Return `client_id` when it is fit to be fetched and to name a client for ever. Raises `ValueError`."""
    return fetchable_urls.check(client_id, what="a client_id that is a URL", loopback=loopback)


def host_of(client_id: str) -> str | None:
    """The host, and the port if there is one, that vouches for this client; `None` when it was registered here."""
    return urlsplit(client_id).netloc if is_url(client_id) else None


def parse(body: bytes, url: str, *, app_schemes: Collection[str] = redirect_uris.APP_SCHEMES) -> Client:
    """The client that the document `body`, found at `url`, describes. Raises `ValueError` in words for people.

    `app_schemes` are the schemes of apps that redirect URIs may have (`oauth_core.redirect_uris`).
    """
    document = strict_json.parse(body)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - a bad value, not a bad call
    # Byte for byte: otherwise whoever can place a file on a host could speak for another of its clients.
    if document.get("client_id") != url:
        raise ValueError("its client_id is not the URL it was found at")
    if not isinstance(document.get("client_name"), str) or not document["client_name"].strip():
        raise ValueError("it has no client_name")
    if any(member.startswith("client_secret") for member in document):
        raise ValueError("it has a client_secret, which cannot be one: everybody can read the document")
    method = document.get("token_endpoint_auth_method", "none")
    if method not in METHODS:
        raise ValueError(f"its token_endpoint_auth_method must be one of: {', '.join(METHODS)}")
    return Client(client_id=url, issued_at=0, registration_token_hash="", **_chosen(document, method, app_schemes))


def _chosen(document: Mapping[str, object], method: str, app_schemes: Collection[str]) -> dict[str, Any]:
    try:
        return chosen_members({**document, "token_endpoint_auth_method": method}, app_schemes=app_schemes)
    except DisplayedError as error:
        raise ValueError(error.description) from None
