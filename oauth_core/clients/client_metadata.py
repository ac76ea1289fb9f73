"""The metadata that a client says of itself (RFC 7591 section 2), in a registration or in its own document.

Lenient in what is accepted: members that we do not know or do not use are left out when they are of no use, and so
are grants and scopes that we do not offer, as RFC 7591 section 3.2.1 allows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from oauth_core.clients import redirect_uris
from oauth_core.display_text import has_something_to_see, is_displayable
from oauth_core.errors import DisplayedError, ErrorCode
from oauth_core.grant_types import AUTHORIZATION_CODE, Registrable, registered
from oauth_core.jose import client_keys
from oauth_core.net import fetchable_urls
from oauth_core.policy import scopes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from oauth_core.grant_types import GrantType
    from oauth_core.model import Client, ClientAuthMethod

AUTH_METHODS: tuple[ClientAuthMethod, ...] = (
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
)
LARGEST = 4096
"""Bytes of a record, as JSON: what one registration may cost. The longest honest ones have some 1,500."""
_MOST_REDIRECT_URIS = 20
_MOST_CONTACTS = 10
_LONGEST_TEXT = 512
UNUSED_URIS = ("logo_uri", "policy_uri", "tos_uri")
UNUSED_TEXTS = ("application_type", "software_id", "software_version")
"""Members that are kept and answered, and that nothing depends on."""
CERTIFICATE_BOUND = "tls_client_certificate_bound_access_tokens"
DPOP_BOUND = "dpop_bound_access_tokens"


def chosen_members(
    document: object,
    *,
    grant_types: Sequence[GrantType],
    kept_method: ClientAuthMethod | None = None,
    app_schemes: Collection[str] = redirect_uris.APP_SCHEMES,
    known_scopes: Collection[str] | None = None,
    may_be_vouched_for: bool = False,
    machine_scopes: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The members of a `Client` that its owner chooses; `kept_method` is meant where none is named.

    `grant_types` are those that there are (`oauth_web.grants.catalog`).
    `app_schemes` are the schemes of apps that redirect URIs may have (`oauth_core.clients.redirect_uris`). Scopes
    that are not among `known_scopes` are left out; `None` keeps all. With `may_be_vouched_for` it may also be a
    client that only presents identity assertions. Such a grant is not kept: whether a client may use it is for the
    settings to say (`trusted_issuers`). With `machine_scopes` the operator lets it act as itself, within these, if
    it asks for `client_credentials`.

    Raises `DisplayedError`.
    """
    if not isinstance(document, dict):
        raise invalid("the request body must be a JSON object")
    chosen = _grant_types(
        document, grant_types, may_be_vouched_for=may_be_vouched_for, may_be_machine=bool(machine_scopes)
    )
    machine = [each.name for each in chosen if each.registrable is Registrable.BY_OPERATOR]
    redirects = tuple(each.response_type for each in chosen if each.response_type is not None)
    response_types = _texts(document, "response_types")
    if response_types and (missing := [each for each in redirects if each not in response_types]):
        raise invalid(f"response_types must include {' and '.join(missing)}")
    # A device is sent nowhere, and need not say where (RFC 7591 section 2).
    uris = _redirect_uris(document, app_schemes) if redirects or document.get("redirect_uris") else ()
    method = document.get("token_endpoint_auth_method")
    if method is None or method == "":
        method = kept_method or ("client_secret_basic" if machine else _usual_method(uris))
    if method not in AUTH_METHODS:
        raise invalid(f"token_endpoint_auth_method must be one of: {', '.join(AUTH_METHODS)}")
    if machine and method == "none":
        # Anybody who knows the id of a public client would be it.
        raise invalid(f"token_endpoint_auth_method must not be none for a client with {' or '.join(machine)}")
    return {
        "token_endpoint_auth_method": cast("ClientAuthMethod", method),
        "redirect_uris": uris,
        "grant_types": tuple(each.name for each in chosen),
        "response_types": redirects,
        "scope": _scope(document, known_scopes),
        "certificate_bound": _flag(document, CERTIFICATE_BOUND),
        "dpop_bound": _flag(document, DPOP_BOUND),
        "client_name": _name(document),
        "client_uri": _uri(document, "client_uri"),
        "contacts": _contacts(document),
        **{name: _if_fit(_text, document, name) for name in UNUSED_TEXTS},
        **{name: _if_fit(_uri, document, name) for name in UNUSED_URIS},
        **(_keys(document) if method == "private_key_jwt" else {}),
        **({"machine_scopes": _within(machine_scopes, _scope(document, None))} if machine else {}),
    }


def fitted(client: Client) -> Client:
    """`client`, without what nothing depends on where it would make the record too large.

    The scopes do not count: they are among our own. Raises `DisplayedError` for what is still too large.
    """
    if size_of(replace(client, scope=None)) > LARGEST:
        left_out: dict[str, Any] = dict.fromkeys((*UNUSED_TEXTS, *UNUSED_URIS))
        client = replace(client, contacts=(), **left_out)
    if (size := size_of(replace(client, scope=None))) > LARGEST:
        raise invalid(f"the metadata is too long: the record would have {size} bytes, and {LARGEST} are the most")
    return client


def size_of(client: Client) -> int:
    """The bytes of the record of `client`, as JSON."""
    record = {name: value for name, value in asdict(client).items() if value is not None}
    return len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def _usual_method(uris: tuple[str, ...]) -> ClientAuthMethod:
    """What a client that names no method is registered with.

    RFC 7591 section 2 means `client_secret_basic`, and section 3.2.1 lets us answer otherwise. A program on its
    user's own machine has no better place for a secret than for its tokens, so it is a public client (RFC 8252
    section 8.4).
    """
    return "client_secret_basic" if any(map(redirect_uris.is_https, uris)) else "none"


def _within(allowed: tuple[str, ...], asked: str | None) -> tuple[str, ...]:
    """What of the scopes that a machine asks for it may have; all that it may have if it asks for none."""
    chosen = tuple(scope for scope in allowed if asked is None or scope in asked.split(" "))
    if not chosen:
        raise invalid(f"scope must be within what the operator allows: {' '.join(allowed)}")
    return chosen


def _grant_types(
    document: Mapping[str, object],
    known: Sequence[GrantType],
    *,
    may_be_vouched_for: bool,
    may_be_machine: bool,
) -> tuple[GrantType, ...]:
    """The grant types that the client may use; `authorization_code` is meant where none is named."""
    asked = _texts(document, "grant_types") or (AUTHORIZATION_CODE,)
    chosen = registered(asked, known, may_be_vouched_for=may_be_vouched_for, may_be_machine=may_be_machine)
    if chosen is None:
        possible = (each.name for each in known if each.registrable is Registrable.BY_ANYBODY)
        raise invalid(f"grant_types must have {' or '.join(possible)}")
    return chosen


def _keys(document: Mapping[str, object]) -> dict[str, str]:
    """The client's keys, by value or by address but not both (RFC 7591 section 2)."""
    by_value, by_address = document.get("jwks"), document.get("jwks_uri")
    if (by_value is None) == (by_address is None):
        raise invalid("private_key_jwt needs exactly one of jwks and jwks_uri")
    try:
        if by_address is not None:
            return {"jwks_uri": fetchable_urls.check(str(by_address), what="jwks_uri", loopback=False)}
        keys = client_keys.parse(by_value)
    except ValueError as error:
        raise invalid(str(error)) from None
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


def _scope(document: Mapping[str, object], known: Collection[str] | None) -> str | None:
    """The scopes among those that there are; an unknown one in the answer would be asked for, and refused."""
    text = document.get("scope") or None
    if text is not None and not isinstance(text, str):
        raise invalid("scope must be a string")
    try:
        # However long it is: our own list may be long, and the size of the body is bounded.
        words = scopes.parse(text, longest=None)
    except DisplayedError as error:
        raise invalid(error.description) from None
    return scopes.join(word for word in words if known is None or word in {*known, scopes.OFFLINE_ACCESS}) or None


def _name(document: Mapping[str, object]) -> str | None:
    name = _text(document, "client_name")
    return name if name is not None and has_something_to_see(name) else None


def _text(document: Mapping[str, object], name: str) -> str | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _LONGEST_TEXT or not is_displayable(value):
        raise invalid(
            f"{name} must be a string of at most {_LONGEST_TEXT} characters, and none of them a control character"
        )
    return value


def _if_fit(
    read: Callable[[Mapping[str, object], str], str | None], document: Mapping[str, object], name: str
) -> str | None:
    """A member that nothing depends on: what is not fit is left out, and refuses nothing."""
    try:
        return read(document, name)
    except DisplayedError:
        return None


def _contacts(document: Mapping[str, object]) -> tuple[str, ...]:
    values = document.get("contacts")
    texts = [_if_fit(_text, {"contact": value}, "contact") for value in values] if isinstance(values, list) else []
    return tuple(text for text in texts if text is not None)[:_MOST_CONTACTS]


def _flag(document: Mapping[str, object], name: str) -> bool:
    value = document.get(name)
    if value is None or value == "":
        return False
    if not isinstance(value, bool):
        raise invalid(f"{name} must be true or false")
    return value


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    values = document.get(name)
    if values is None:
        return ()
    if not isinstance(values, list):
        raise invalid(f"{name} must be an array of strings")
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
        raise invalid(f"{name} must be an http or https URL")
    return value


def invalid(description: str) -> DisplayedError:
    """400 `invalid_client_metadata` (RFC 7591 section 3.2.2)."""
    return DisplayedError(ErrorCode.INVALID_CLIENT_METADATA, description)
