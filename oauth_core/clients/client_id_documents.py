"""Clients whose id is the URL of a document that describes them (draft-ietf-oauth-client-id-metadata-document).

Only the control of that URL is proven, so people are shown its host. Everything else in the document is the
client's own claim, and is checked by the rules for a registration.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from oauth_core import strict_json
from oauth_core.clients import redirect_uris
from oauth_core.clients.client_metadata import chosen_members
from oauth_core.errors import DisplayedError
from oauth_core.model import Client
from oauth_core.net import fetchable_urls

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from oauth_core.grant_types import GrantType

METHODS = ("none", "private_key_jwt")
"""The authentication methods of such a client: it shares no secret with this server."""

_METHOD_MEMBERS = ("token_endpoint_auth_method", "token_endpoint_auth_methods_supported")
_LABEL = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_HOST = re.compile(rf"(?:\*\.{_LABEL}(?:\.{_LABEL})*|{_LABEL}(?:\.{_LABEL})*(?::[1-9][0-9]{{0,4}})?)", re.ASCII)


def is_url(client_id: str) -> bool:
    """Whether `client_id` is meant as a URL, valid or not; ids that this server issues never look like one."""
    return client_id.startswith(("https://", "http://"))


def check_url(client_id: str, *, loopback: bool) -> str:
    """Return `client_id` when it may be fetched and is a lasting name for a client. Raises `ValueError`."""
    return fetchable_urls.check(client_id, what="a client_id that is a URL", loopback=loopback)


def stored_as(url: str) -> str:
    """Return the name under which the copy of the document at `url` is stored.

    The purpose is part of the name: a document that is also used as a key set must not overwrite the client's.
    """
    return f"client {url}"


def host_of(client_id: str) -> str | None:
    """The host (with its port, if any) that vouches for this client; `None` when the client registered here."""
    return urlsplit(client_id).netloc if is_url(client_id) else None


def parse(
    body: bytes,
    url: str,
    *,
    grant_types: Sequence[GrantType],
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
) -> Client:
    """The client that the document `body` at `url` describes. Raises `ValueError` with a message for people.

    `grant_types` are all existing ones, offered or not.
    `app_schemes` are the app schemes that redirect URIs may have (`oauth_core.clients.redirect_uris`).
    """
    document = strict_json.parse(body)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - a bad value, not a bad call
    # Byte for byte: otherwise a person who can place a file on a host could act for another client of that host.
    if document.get("client_id") != url:
        raise ValueError("its client_id is not the URL it was found at")
    if not isinstance(document.get("client_name"), str) or not document["client_name"].strip():
        raise ValueError("it has no client_name")
    if any(member.startswith("client_secret") for member in document):
        raise ValueError("it has a client_secret, but the document is public, so it cannot contain a secret")
    members = _chosen(document, _methods(document), grant_types, app_schemes)
    return Client(client_id=url, issued_at=0, registration_token_hash="", **members)


def check_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """Hosts whose client documents are accepted: `app.example`, `app.example:8443`, or `*.example` for all below.

    Raises `ValueError`.
    """
    found = tuple(hosts)
    if not all(_HOST.fullmatch(host) for host in found):
        # The message leaves out the value: a secret in the wrong variable must not appear in a log.
        raise ValueError("must be lower-case host names without a scheme or a path, like app.example or *.example")
    return found


def is_accepted(url: str, hosts: Collection[str]) -> bool:
    """Whether the host of `url` is among `hosts`; an empty list accepts every host."""
    host = urlsplit(url).netloc
    return not hosts or any(
        host == each or (each.startswith("*.") and host.endswith(each[1:]) and host != each[1:]) for each in hosts
    )


def _methods(document: Mapping[str, object]) -> tuple[str, ...]:
    """The authentication methods that the document offers and that are possible here, the best one first.

    `token_endpoint_auth_method` (RFC 7591 section 2) comes first. Some documents list more methods
    (`token_endpoint_auth_methods_supported`); of those `none` is preferred, because a client that offers it may
    send no credentials. Raises `ValueError` when no method is possible.
    """
    stated, listed = (_texts(document, name) for name in _METHOD_MEMBERS)
    if not stated and not listed:
        return ("none",)
    offered = (*stated, *sorted(listed, key=lambda method: method != "none"))
    if not (possible := tuple(dict.fromkeys(method for method in offered if method in METHODS))):
        raise ValueError(f"its token_endpoint_auth_method must be one of: {', '.join(METHODS)}")
    return possible


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    value = document.get(name)
    values = value if isinstance(value, list) else [] if value is None or value == "" else [value]
    found = tuple(each for each in values if isinstance(each, str))
    if values and not found:
        raise ValueError(f"its {name} is not text")
    return found


def _chosen(
    document: Mapping[str, object],
    methods: Sequence[str],
    grant_types: Sequence[GrantType],
    app_schemes: Collection[str],
) -> dict[str, Any]:
    """The members with the first of `methods` that suits the rest of the document: keys may be missing for one."""
    method, *others = methods
    # The scopes of a document have no effect.
    members = {**document, "token_endpoint_auth_method": method, "scope": None}
    try:
        return chosen_members(
            members,
            grant_types=grant_types,
            app_schemes=app_schemes,
            may_be_vouched_for=True,
            drops_unfit_redirects=True,  # one document serves all authorization servers
        )
    except DisplayedError as error:
        if others:
            return _chosen(document, others, grant_types, app_schemes)
        raise ValueError(error.description) from None
