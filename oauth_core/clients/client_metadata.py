"""The metadata that a client sends about itself (RFC 7591 section 2), in a registration or in its own document.

It accepts much: it leaves out unknown members, unfit optional members, and grants and scopes that are not offered.
RFC 7591 sections 2 and 3.2.1 allow that, and the answer contains what was kept. It refuses unfit values on which
the safety of the client depends: redirect URIs, authentication, keys, and the binding of tokens.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, cast

from oauth_core.clients import redirect_uris
from oauth_core.display_text import has_something_to_see, is_displayable, without_hidden
from oauth_core.errors import DisplayedError
from oauth_core.grant_types import AUTHORIZATION_CODE, Registrable, registered
from oauth_core.jose import client_keys
from oauth_core.net import fetchable_urls
from oauth_core.net.public_urls import is_http_url
from oauth_core.policy import scopes
from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from oauth_core.grant_types import GrantType
    from oauth_core.model import Client, ClientAuthMethod

AUTH_METHODS: tuple[ClientAuthMethod, ...] = (
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
)
LARGEST = 4096
"""Maximum bytes of a record as JSON. The longest honest records have some 1,500."""
_MOST_REDIRECT_URIS = 20
_MOST_CONTACTS = 10
_LONGEST_TEXT = 512
UNUSED_URIS = ("logo_uri", "policy_uri", "tos_uri")
UNUSED_TEXTS = ("application_type", "software_id", "software_version")
"""Members that are stored and returned, but have no effect."""
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
    drops_unfit_redirects: bool = False,
) -> dict[str, Any]:
    """The members of a `Client` that its owner chooses; `kept_method` applies where no method is named.

    `grant_types` are all existing ones (`oauth_web.grants.catalog`).
    `app_schemes` are the app schemes that redirect URIs may have (`oauth_core.clients.redirect_uris`). Scopes that
    are not among `known_scopes` are left out; `None` keeps all. With `may_be_vouched_for`, a client that only
    presents identity assertions is accepted too. That grant type is not stored: the settings (`trusted_issuers`)
    define which clients may use it. With `machine_scopes`, the operator lets the client act as itself, within
    these scopes, if it asks for `client_credentials`. With `drops_unfit_redirects`, an unfit redirect URI is left
    out as long as one is left; otherwise one unfit URI refuses the whole, so that the registering client learns of
    it.

    Raises `DisplayedError`.
    """
    if not isinstance(document, dict):
        raise refused(OAuthReason.METADATA_NOT_AN_OBJECT)
    chosen = _grant_types(
        document, grant_types, may_be_vouched_for=may_be_vouched_for, may_be_machine=bool(machine_scopes)
    )
    machine = [each.name for each in chosen if each.registrable is Registrable.BY_OPERATOR]
    redirects = tuple(each.response_type for each in chosen if each.response_type is not None)
    response_types = _texts(document, "response_types")
    if response_types and (missing := [each for each in redirects if each not in response_types]):
        raise refused(OAuthReason.RESPONSE_TYPE_MISSING, missing=" and ".join(missing))
    # A device has no redirect and needs no redirect URI (RFC 7591 section 2).
    read = _fit_redirect_uris if drops_unfit_redirects else _redirect_uris
    uris = read(document, app_schemes) if redirects or document.get("redirect_uris") else ()
    asked_scopes, contacts = _scopes(document), document.get("contacts")
    method = document.get("token_endpoint_auth_method")
    if method is None or method == "":
        method = kept_method or ("client_secret_basic" if machine else _usual_method(uris))
    if method not in AUTH_METHODS:
        raise refused(OAuthReason.UNKNOWN_AUTH_METHOD, methods=", ".join(AUTH_METHODS))
    if machine and method == "none":
        # Any caller that knows the id of a public client could act as it.
        raise refused(OAuthReason.MACHINE_MUST_PROVE_ITSELF, grant_types=" or ".join(machine))
    return {
        "token_endpoint_auth_method": cast("ClientAuthMethod", method),
        "redirect_uris": uris,
        "grant_types": tuple(each.name for each in chosen),
        "response_types": redirects,
        "scope": _known(asked_scopes, known_scopes),
        "certificate_bound": _flag(document, CERTIFICATE_BOUND),
        "dpop_bound": _flag(document, DPOP_BOUND),
        "client_name": _name(document),
        "client_uri": _uri(document, "client_uri"),
        "contacts": _texts(document, "contacts")[:_MOST_CONTACTS] if isinstance(contacts, list) else (),
        **{name: _text(document, name) for name in UNUSED_TEXTS},
        **{name: _uri(document, name) for name in UNUSED_URIS},
        **(_keys(document) if method == "private_key_jwt" else {}),
        **({"machine_scopes": _within(machine_scopes, asked_scopes)} if machine else {}),
    }


def fitted(client: Client) -> Client:
    """`client`, without the members that have no effect if the record would be too large.

    The scopes do not count: they are among our own. Raises `DisplayedError` if the record is still too large.
    """
    if size_of(replace(client, scope=None)) > LARGEST:
        left_out: dict[str, Any] = dict.fromkeys((*UNUSED_TEXTS, *UNUSED_URIS))
        client = replace(client, contacts=(), **left_out)
    if (size := size_of(replace(client, scope=None))) > LARGEST:
        raise refused(OAuthReason.METADATA_TOO_LONG, size=size, most=LARGEST)
    return client


def size_of(client: Client) -> int:
    """The bytes of the record of `client`, as JSON."""
    record = {name: value for name, value in asdict(client).items() if value is not None}
    return len(json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))


def _usual_method(uris: tuple[str, ...]) -> ClientAuthMethod:
    """The authentication method of a client that names none.

    The default of RFC 7591 section 2 is `client_secret_basic`, and section 3.2.1 lets us answer otherwise. A
    program on its user's own machine can store a secret no better than its tokens, so it is a public client (RFC
    8252 section 8.4).
    """
    return "client_secret_basic" if any(map(redirect_uris.is_https, uris)) else "none"


def _within(allowed: tuple[str, ...], requested: tuple[str, ...] | None) -> tuple[str, ...]:
    """The requested scopes that a machine client may have; all allowed ones if it requests none."""
    chosen = tuple(scope for scope in allowed if requested is None or scope in requested)
    if not chosen:
        raise refused(OAuthReason.SCOPE_NOT_ALLOWED, allowed=" ".join(allowed))
    return chosen


def _grant_types(
    document: Mapping[str, object],
    known: Sequence[GrantType],
    *,
    may_be_vouched_for: bool,
    may_be_machine: bool,
) -> tuple[GrantType, ...]:
    """The grant types that the client may use; the default is `authorization_code`."""
    requested = _texts(document, "grant_types") or (AUTHORIZATION_CODE,)
    chosen = registered(requested, known, may_be_vouched_for=may_be_vouched_for, may_be_machine=may_be_machine)
    if chosen is None:
        possible = (each.name for each in known if each.registrable is Registrable.BY_ANY_CLIENT)
        raise refused(OAuthReason.GRANT_TYPE_MISSING, possible=" or ".join(possible))
    return chosen


def _keys(document: Mapping[str, object]) -> dict[str, str]:
    """The client's keys, by value or by address but not both (RFC 7591 section 2)."""
    by_value, by_address = document.get("jwks"), document.get("jwks_uri")
    if (by_value is None) == (by_address is None):
        raise refused(OAuthReason.ONE_KEY_SOURCE)
    try:
        if by_address is not None:
            return {"jwks_uri": fetchable_urls.check(str(by_address), what="jwks_uri", loopback=False)}
        keys = client_keys.parse(by_value)
    except ValueError as error:
        raise refused(OAuthReason.KEYS_UNUSABLE, fault=error) from None
    return {"jwks": json.dumps(keys.document(), separators=(",", ":"))}


def _redirect_uris(document: Mapping[str, object], app_schemes: Collection[str]) -> tuple[str, ...]:
    uris = document.get("redirect_uris")
    if not isinstance(uris, list) or not uris:
        raise refused(OAuthReason.NO_REDIRECT_URIS)
    found = tuple(dict.fromkeys(redirect_uris.check(uri, app_schemes) for uri in uris))
    if len(found) > _MOST_REDIRECT_URIS:
        raise refused(OAuthReason.TOO_MANY_REDIRECT_URIS, most=_MOST_REDIRECT_URIS)
    return found


def _fit_redirect_uris(document: Mapping[str, object], app_schemes: Collection[str]) -> tuple[str, ...]:
    """The fit redirect URIs, up to the maximum. If none is fit, raises `DisplayedError` for the first one."""
    value = document.get("redirect_uris")
    if isinstance(value, str) and value:
        value = [value]
    if not isinstance(value, list) or not value:
        return _redirect_uris(document, app_schemes)
    fit: dict[str, None] = {}
    for uri in value:
        with suppress(DisplayedError):
            fit[redirect_uris.check(uri, app_schemes)] = None
    if not fit:
        redirect_uris.check(value[0], app_schemes)
    return tuple(fit)[:_MOST_REDIRECT_URIS]


def _scopes(document: Mapping[str, object]) -> tuple[str, ...] | None:
    """The words of `scope` that can be scopes; `None` without `scope`. Some clients send an array of the words."""
    value = document.get("scope")
    if value is None or value in ("", []):
        return None
    texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
    # Without a length limit: our own list may be long, and the size of the body is bounded.
    return scopes.fit(" ".join(texts))


def _known(requested: tuple[str, ...] | None, known: Collection[str] | None) -> str | None:
    """The scopes that exist here: a client would request an unknown scope from the answer, and be refused."""
    words = (word for word in requested or () if known is None or word in {*known, scopes.OFFLINE_ACCESS})
    return scopes.join(words) or None


def _name(document: Mapping[str, object]) -> str | None:
    value = document.get("client_name")
    name = _fit(without_hidden(value).strip() if isinstance(value, str) else value)
    return name if name is not None and has_something_to_see(name) else None


def _text(document: Mapping[str, object], name: str) -> str | None:
    return _fit(document.get(name))


def _fit(value: object) -> str | None:
    """`value` if it is a text that people may see: not too long, without control characters; else `None`."""
    is_fit = isinstance(value, str) and 0 < len(value) <= _LONGEST_TEXT and is_displayable(value)
    return cast("str", value) if is_fit else None


def _flag(document: Mapping[str, object], name: str) -> bool:
    """Whether tokens are to be bound. An unfit value is refused: if it were ignored, tokens would not be bound."""
    value = document.get(name)
    if value is None or value == "":
        return False
    if not isinstance(value, bool):
        raise refused(OAuthReason.MEMBER_NOT_BOOLEAN, name=name)
    return value


def _texts(document: Mapping[str, object], name: str) -> tuple[str, ...]:
    """The fit texts of an array. Some clients send a single text instead of an array."""
    value = document.get(name)
    values = value if isinstance(value, list) else [value]
    return tuple(text for each in values if (text := _fit(each)) is not None)


def _uri(document: Mapping[str, object], name: str) -> str | None:
    value = _text(document, name)
    # These become links on the consent page, where a javascript: URI would run.
    return value if value is not None and is_http_url(value) else None
