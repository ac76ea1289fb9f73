"""The descriptor of a grant type for the pure rules: its name, its clients, and its part of the metadata.

The descriptors are defined beside their handlers, in `oauth_web.grants`: one module for each grant type, and
`oauth_web.grants.catalog` lists them. Registration, discovery and the token endpoint get that list.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from oauth_core.refusals import OAuthReason, refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from oauth_core.model import Client

AUTHORIZATION_CODE = "authorization_code"
REFRESH_TOKEN = "refresh_token"
CLIENT_CREDENTIALS = "client_credentials"
DEVICE_CODE = "urn:ietf:params:oauth:grant-type:device_code"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Registrable(Enum):
    """Which clients may register for a grant type over HTTP (RFC 7591 section 2)."""

    BY_ANY_CLIENT = "by_any_client"
    """A person consents in each case, so any client may."""
    WITH_OTHERS = "with_others"
    """It comes with each grant type that gives refresh tokens, even if the client does not request it."""
    BY_OPERATOR = "by_operator"
    """Only a client to which the operator gave its own scopes. Such a client must authenticate."""
    NEVER = "never"
    """The settings name its clients, so no registration stores it. A client ID document may contain it."""


def nothing(_issuer: str) -> Mapping[str, object]:
    """No members of the metadata document."""
    return {}


def must_have_registered(name: str, client: Client) -> None:
    """Pass when `client` registered for the grant type `name`. Raises `DisplayedError`, `unauthorized_client`."""
    if name not in client.grant_types:
        raise refused(OAuthReason.NOT_REGISTERED_FOR, grant_type=name)


def any_client(_name: str, _client: Client) -> None:
    """Pass for every client: the handler, or the endpoint at which the grant began, checks it."""


@dataclass(frozen=True, kw_only=True)
class GrantType:
    """One grant type of the token endpoint, without its handler.

    `name` is the value of `grant_type`. `rule` raises `DisplayedError` for a client that may not use it; by
    default a client must have registered for it. `response_type` is the value for `/authorize`, if the grant type
    begins there. `setting` is the name of the setting without which it is not offered. `metadata` returns the
    additional members of the authorization server metadata, for an issuer.
    """

    name: str
    registrable: Registrable
    gives_refresh_token: bool = False
    rule: Callable[[str, Client], None] = must_have_registered
    response_type: str | None = None
    setting: str | None = None
    metadata: Callable[[str], Mapping[str, object]] = field(default=nothing)

    def is_offered(self, settings: object) -> bool:
        """Whether this gateway offers it, by its settings."""
        return self.setting is None or bool(getattr(settings, self.setting))


def registered(
    requested: Iterable[str], known: Iterable[GrantType], *, may_be_machine: bool, may_be_vouched_for: bool
) -> tuple[GrantType, ...] | None:
    """The grant types among `known` that a client gets if it requests `requested`; `None` if none of them fits.

    Any client may register, so it gets the grant types with a person's consent; others need the operator's
    permission (`may_be_machine`). With `may_be_vouched_for`, it may request only one that is never stored.
    """
    requested, known = frozenset(requested), tuple(known)
    wanted = {
        kind: [each for each in known if each.registrable is kind and each.name in requested]
        for kind in Registrable
    }
    chosen = wanted[Registrable.BY_ANY_CLIENT] + (wanted[Registrable.BY_OPERATOR] if may_be_machine else [])
    if not chosen:
        return () if may_be_vouched_for and wanted[Registrable.NEVER] else None
    # Clients that did not request refresh tokens get them too.
    is_refreshable = any(each.gives_refresh_token for each in chosen)
    return tuple(
        each
        for each in known
        if each in chosen or (is_refreshable and each.registrable is Registrable.WITH_OTHERS)
    )
