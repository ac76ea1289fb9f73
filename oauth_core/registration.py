"""Client registration (RFC 7591) and management (RFC 7592): from what a client sent to a `Client`, and back.

Lenient in what is accepted: members we do not know are ignored, and grants we do not offer are left out of the
answer, as RFC 7591 section 3.2.1 allows. Strict in what is answered: unset members are left out, never null.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from oauth_core import client_keys, device, fetchable_urls, redirect_uris, registration_permissions, scopes
from oauth_core.credentials import hash_secret, new_identifier, new_secret, secret_matches
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.model import Client, ClientAuthMethod

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

AUTH_METHODS: tuple[ClientAuthMethod, ...] = (
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
)
_SECRET_METHODS = frozenset({"client_secret_basic", "client_secret_post"})
GRANT_TYPES = ("authorization_code", "refresh_token", device.GRANT_TYPE, "client_credentials")
"""What the token endpoint offers; the last only to clients of the operator (`oauth_core.machine_clients`)."""

_MOST_REDIRECT_URIS = 20
_MOST_CONTACTS = 10
_LONGEST_TEXT = 512
_URI_MEMBERS = ("client_uri", "logo_uri", "policy_uri", "tos_uri")
CERTIFICATE_BOUND = "tls_client_certificate_bound_access_tokens"
DPOP_BOUND = "dpop_bound_access_tokens"
_TEXT_MEMBERS = ("client_name", "application_type", "software_id", "software_version")


@dataclass(frozen=True)
class Registered:
    """A new or changed client, with the secrets that are shown this once. `None`: unchanged, or none needed.

    `repr` leaves the secrets out.
    """

    client: Client
    secret: str | None = field(repr=False)
    registration_token: str | None = field(repr=False)


def register(
    document: object,
    *,
    now: int,
    permissions: tuple[str, ...] = registration_permissions.ALL,
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
) -> Registered:
    """Make a client from a registration request's JSON (RFC 7591 section 2).

    `permissions` are what its registration token will carry.
    Raises `DisplayedError` with `invalid_client_metadata` or `invalid_redirect_uri`.
    """
    members = chosen_members(document, app_schemes=app_schemes)
    token = new_secret()
    secret = new_secret() if members["token_endpoint_auth_method"] in _SECRET_METHODS else None
    client = Client(
        client_id=new_identifier(),
        issued_at=now,
        registration_token_hash=hash_secret(token),
        secret_hash=hash_secret(secret) if secret else None,
        registration_permissions=permissions,
        **members,
    )
    return Registered(client, secret, token)


def update(
    client: Client, document: object, *, app_schemes: Collection[str] = redirect_uris.APP_SCHEMES
) -> Registered:
    """Replace the metadata of `client` (RFC 7592 section 2.2): members left out are dropped.

    The id and, when given, the secret must be the client's own. Becoming confidential makes a secret, becoming
    public forgets it; who has a secret and does not speak of the method keeps both. What an operator allowed the
    client to do as itself does not survive. Raises `DisplayedError`.
    """
    if not isinstance(document, dict) or document.get("client_id") != client.client_id:
        raise _invalid("client_id must be present and the same as in the URL")
    for forbidden in (
        "registration_access_token",
        "registration_client_uri",
        "client_secret_expires_at",
        "client_id_issued_at",
    ):
        if forbidden in document:
            raise _invalid(f"{forbidden} must not be sent in an update (RFC 7592 section 2.2)")
    given = document.get("client_secret")
    if given is not None and not _is_secret_of(client, given):
        raise _invalid("client_secret is not this client's; an update cannot choose one")
    members = chosen_members(
        document,
        kept_method=client.token_endpoint_auth_method if client.secret_hash else None,
        app_schemes=app_schemes,
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
        **members,
    )
    return Registered(changed, secret, None)


def client_information(registered: Registered, *, issuer: str) -> dict[str, object]:
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
    for name in (*_TEXT_MEMBERS, *_URI_MEMBERS, "scope"):
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


def chosen_members(
    document: object,
    *,
    kept_method: ClientAuthMethod | None = None,
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
) -> dict[str, Any]:
    """The members of a `Client` that its owner chooses; `kept_method` is meant where none is named.

    `app_schemes` are the schemes of apps that redirect URIs may have (`oauth_core.redirect_uris`).

    Raises `DisplayedError`.
    """
    if not isinstance(document, dict):
        raise _invalid("the request body must be a JSON object")
    grant_types = _grant_types(document)
    redirects = "authorization_code" in grant_types
    response_types = _texts(document, "response_types")
    if redirects and response_types and "code" not in response_types:
        raise _invalid("response_types must include code")
    # A device is sent nowhere, and need not say where (RFC 7591 section 2).
    uris = _redirect_uris(document, app_schemes) if redirects or document.get("redirect_uris") else ()
    method = document.get("token_endpoint_auth_method")
    if method is None:
        method = kept_method or _usual_method(uris)
    if method not in AUTH_METHODS:
        raise _invalid(f"token_endpoint_auth_method must be one of: {', '.join(AUTH_METHODS)}")
    return {
        "token_endpoint_auth_method": cast("ClientAuthMethod", method),
        "redirect_uris": uris,
        "grant_types": grant_types,
        "response_types": ("code",) if redirects else (),
        "scope": _scope(document),
        "certificate_bound": _flag(document, CERTIFICATE_BOUND),
        "dpop_bound": _flag(document, DPOP_BOUND),
        "contacts": _texts(document, "contacts")[:_MOST_CONTACTS],
        **{name: _text(document, name) for name in _TEXT_MEMBERS},
        **{name: _uri(document, name) for name in _URI_MEMBERS},
        **(_keys(document) if method == "private_key_jwt" else {}),
    }


def _usual_method(uris: tuple[str, ...]) -> ClientAuthMethod:
    """What a client that names no method is registered with.

    RFC 7591 section 2 means `client_secret_basic`, and section 3.2.1 lets us answer otherwise. A program on its
    user's own machine has no better place for a secret than for its tokens, so it is a public client (RFC 8252
    section 8.4).
    """
    return "client_secret_basic" if any(map(redirect_uris.is_https, uris)) else "none"


def _grant_types(document: Mapping[str, object]) -> tuple[str, ...]:
    """The grants that the client may use. Anybody may register, so only those in which a person is asked."""
    asked = _texts(document, "grant_types") or ("authorization_code",)
    redirects, polls = "authorization_code" in asked, device.GRANT_TYPE in asked
    if not redirects and not polls:
        raise _invalid(f"grant_types must have authorization_code or {device.GRANT_TYPE}")
    # Refresh tokens are given even to clients that did not know to ask for them.
    return (
        *(("authorization_code",) if redirects else ()),
        "refresh_token",
        *((device.GRANT_TYPE,) if polls else ()),
    )


def _keys(document: Mapping[str, object]) -> dict[str, str]:
    """The client's keys, by value or by address but not both (RFC 7591 section 2)."""
    by_value, by_address = document.get("jwks"), document.get("jwks_uri")
    if (by_value is None) == (by_address is None):
        raise _invalid("private_key_jwt needs exactly one of jwks and jwks_uri")
    try:
        if by_address is not None:
            return {"jwks_uri": fetchable_urls.check(str(by_address), what="jwks_uri", loopback=False)}
        keys = client_keys.parse(by_value)
    except ValueError as error:
        raise _invalid(str(error)) from None
    return {"jwks": json.dumps(keys.document(), separators=(",", ":"))}


def _redirect_uris(document: Mapping[str, object], app_schemes: Collection[str]) -> tuple[str, ...]:
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or not uris:
        raise DisplayedError(
            ErrorCode.INVALID_REDIRECT_URI, "redirect_uris must be an array with at least one URI"
        )
    if len(uris) > _MOST_REDIRECT_URIS:
        raise DisplayedError(ErrorCode.INVALID_REDIRECT_URI, f"redirect_uris has more than {_MOST_REDIRECT_URIS}")
    return tuple(dict.fromkeys(redirect_uris.check(uri, app_schemes) for uri in uris))


def _scope(document: Mapping[str, object]) -> str | None:
    text = _text(document, "scope")
    try:
        return scopes.join(scopes.parse(text)) or None
    except DisplayedError as error:
        raise _invalid(error.description) from None


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not value.isprintable():
        raise _invalid(f"{name} must be a string of at most {_LONGEST_TEXT} printable characters")
    return value


def _flag(document: Mapping[str, object], name: str) -> bool:
    value = document.get(name, False)
    if not isinstance(value, bool):
        raise _invalid(f"{name} must be true or false")
    return value


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = document.get(name)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise _invalid(f"{name} must be an array of strings")
    return tuple(text for value in values if (text := _text({name: value}, name)) is not None)


def _uri(document: Mapping[str, object], name: str) -> str | None:
    value = _text(document, name)
    if value is None:
        return None
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = None
    # These end up as links on the consent page, where a javascript: URI would run.
    if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
        raise _invalid(f"{name} must be an http or https URL")
    return value


def _invalid(description: str) -> DisplayedError:
    return DisplayedError(ErrorCode.INVALID_CLIENT_METADATA, description)
