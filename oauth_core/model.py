"""The domain model of the product, as frozen values. This module does no I/O and reads no clock.

Times are whole seconds since the epoch. Secrets appear only hashed: see `oauth_core.crypto.credentials`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from decimal import Decimal

ClientAuthMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]


@dataclass(frozen=True, slots=True)
class ArgumentCondition:
    """A condition on one field of the arguments of a call. A part that is `None` or empty demands nothing.

    `field` is the name as the operator wrote it, such as `options.paths[]`, and `steps` the way to the field:
    names of members, and `None` for each item of a list. `present` demands that the field is given, or left out.
    If it is `optional`, the other parts hold for a call without the field. `paths` are globs over paths, in
    segments. `at_least` and `at_most` bound a number, `characters` the length of a text, and `items` that of a
    list. `oauth_core.policy.argument_rules` evaluates it.
    """

    field: str
    steps: tuple[str | None, ...]
    present: bool | None = None
    optional: bool = False
    globs: tuple[str, ...] = ()
    paths: tuple[tuple[str, ...], ...] = ()
    one_of: tuple[str | bool | Decimal, ...] = ()
    at_least: Decimal | None = None
    at_most: Decimal | None = None
    is_integer: bool = False
    characters: tuple[int, int | None] | None = None
    items: tuple[int, int | None] | None = None


@dataclass(frozen=True, slots=True)
class Way:
    """One way to satisfy a rule: all `permissions` are needed, and all `conditions` must hold.

    Unless `allows_others`, a call may have no arguments but those with a condition. `explanation` is a text for a
    caller whose arguments do not meet the conditions.
    """

    permissions: tuple[str, ...]
    conditions: tuple[ArgumentCondition, ...] = ()
    allows_others: bool = True
    explanation: str = ""

    @property
    def is_conditional(self) -> bool:
        """Whether it depends on the arguments of the call."""
        return bool(self.conditions) or not self.allows_others


@dataclass(frozen=True, slots=True)
class NameRule:
    """Every permission in `permissions` is needed for the names that match `pattern` (`*` for any text).

    If there are `ways`, one of them must be satisfied instead, and `permissions` is empty.
    """

    pattern: str
    permissions: tuple[str, ...]
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True, slots=True)
class ToolRules:
    """The permissions that the methods of a service, and names used with them, need.

    See `oauth_core.policy.tool_rules`. `otherwise` are the permissions for names without a rule; if it is empty,
    these are forbidden. `reads_arguments` is true if a rule has ways, which may depend on the arguments of a call.
    """

    methods: tuple[NameRule, ...] = ()
    tools: tuple[NameRule, ...] = ()
    prompts: tuple[NameRule, ...] = ()
    resources: tuple[NameRule, ...] = ()
    otherwise: tuple[str, ...] = ()
    reads_arguments: bool = field(init=False)

    def __post_init__(self) -> None:
        """Find out whether a rule has ways, once for all calls."""
        with_ways = any(rule.ways for rule in (*self.tools, *self.prompts))
        object.__setattr__(self, "reads_arguments", with_ways)


@dataclass(frozen=True, slots=True)
class Service:
    """One MCP service behind the gateway.

    `resource` is its public URL and, byte for byte, its resource identifier (RFC 8707, RFC 9728). `upstream` is
    its address for Envoy: `http://host:port/path`, or `unix:/socket:/path`. `scope` is the scope that clients
    request for it. `named_permissions` are its permissions, if others, and `permission_titles` are their
    descriptions for people. `rules` define the permissions of its methods: only with rules a body matters. With
    `assertion` it gets a signed identity of the caller. Without `subpaths` only `resource` itself is reachable,
    not paths below it. With `filter_lists` and rules, a caller sees only what it may use in lists; with
    `bind_sessions` only the subject that began a session can use it.
    """

    name: str
    title: str
    resource: str
    upstream: str
    scope: str
    named_permissions: tuple[str, ...] = ()
    rules: ToolRules | None = None
    permission_titles: tuple[tuple[str, str], ...] = ()
    assertion: bool = False
    subpaths: bool = True
    filter_lists: bool = True
    bind_sessions: bool = True

    @property
    def permissions(self) -> tuple[str, ...]:
        """The permissions of the service: without rules all are needed, with rules it depends on the method."""
        return self.named_permissions or (self.scope,)


@dataclass(frozen=True, slots=True)
class User:
    """A person who signed in with GitHub. `github_id` never changes; `login` can."""

    github_id: int
    login: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class KnownUser:
    """A person at the last sign-in. With `is_vouched_for` the identity comes only from an identity provider."""

    user: User
    signed_in_at: int
    is_vouched_for: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """A block that an operator set at second `since`. `login` is the person's login then, if known."""

    github_id: int
    since: int
    login: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client, registered (RFC 7591 section 2) or described by the document at the URL that is its id.

    Both secrets are stored as hashes. `jwks` is a JWK set as JSON, with public keys only.
    """

    client_id: str
    issued_at: int
    registration_token_hash: str
    token_endpoint_auth_method: ClientAuthMethod
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...]
    response_types: tuple[str, ...]
    secret_hash: str | None = None
    client_name: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    policy_uri: str | None = None
    tos_uri: str | None = None
    scope: str | None = None
    contacts: tuple[str, ...] = ()
    application_type: str | None = None
    software_id: str | None = None
    software_version: str | None = None
    machine_scopes: tuple[str, ...] = ()
    """Scopes of the client as a machine client; only the operator's command sets them
    (`oauth_core.flows.client_credentials`).
    """
    jwks: str | None = None
    jwks_uri: str | None = None
    registration_permissions: tuple[str, ...] = ("registration.read", "registration.write", "registration.delete")
    """The rights of its registration token (`oauth_core.clients.registration_permissions`)."""
    certificate_bound: bool = False
    dpop_bound: bool = False
    """Whether its tokens are valid only with a certificate (RFC 8705 section 3.4), or with a key (RFC 9449)."""
    invited: bool = False
    """Whether it registered its redirect URIs with an initial access token of an operator."""


@dataclass(frozen=True, slots=True)
class DisabledClient:
    """A client that an operator disabled at second `since`. `name` is its name then, if known.

    `traits` are hashes of what another registration of the same app has (`oauth_core.clients.disabling`).
    """

    client_id: str
    since: int
    name: str | None = None
    reason: str | None = None
    traits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class InitialAccessToken:
    """The right to register a client (RFC 7591 section 3), `uses` times, up to second `expires_at`.

    Clients that register with it have `registration_permissions`, and may request to be machine clients within
    `machine_scopes`. `issued_to` is the person who asked for it, if not the operator.
    """

    token_id: str
    secret_hash: str
    issued_at: int
    expires_at: int
    uses: int
    registration_permissions: tuple[str, ...]
    issued_to: User | None = None
    note: str | None = None
    machine_scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A validated request at `/authorize`: all its values can be used. Its code is bound to `dpop_key`."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    code_challenge: str
    state: str | None = None
    dpop_key: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """The request of a device, in the browser of the person who entered its user code.

    `device_hash` is the hash of the device code: with it one can decide about the device, but not act as it.
    """

    device_hash: str
    client_id: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AccountVisit:
    """A person signs in to see their own account; there is no request of a client."""

    page: Literal["/account"] = "/account"


@dataclass(frozen=True, slots=True)
class PendingAuthorization:
    """A request that waits for its user, bound to the browser that started it.

    `browser_hash` is the hash of that browser's cookie. `session_hash` names the session whose user the page
    named; without one the user goes to GitHub, with `picks_account` to its account picker. `client_fingerprint` is
    the client as the page showed it.
    """

    request: AuthorizationRequest | DeviceRequest | AccountVisit
    browser_hash: str
    session_hash: str | None = None
    client_fingerprint: str = ""
    picks_account: bool = False


@dataclass(frozen=True, slots=True)
class SignIn:
    """An open login redirect. It is stored under the `state` that GitHub gets, and can be used once.

    `remembers` is true if the user chose to have the consent remembered.
    """

    pending: PendingAuthorization
    remembers: bool = False


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """The authorization behind a code. Its grant's id is chosen with the code, so a replay can find it.

    `allowed_at` is the second at which the user's identity was confirmed.
    """

    grant_id: str
    request: AuthorizationRequest
    user: User
    sealed_github_token: str | None = None
    groups: tuple[str, ...] = ()
    allowed_at: int = 0


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """The request behind a device code (RFC 8628 section 3.2). The id of its grant is chosen with the code."""

    grant_id: str
    client_id: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class DevicePace:
    """The allowed polling rate of a device: `interval` seconds between polls; the last came at `polled_at`."""

    interval: int
    polled_at: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceDecision:
    """The person's decision about a device: it acts as `user`, or is denied. The other fields are as in a code."""

    user: User | None = None
    sealed_github_token: str | None = None
    groups: tuple[str, ...] = ()
    allowed_at: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights that a user allowed a client: one sign-in, one family of refresh tokens.

    Without a user it holds the rights that the operator allowed a machine client, which has no refresh tokens.
    `groups` are the relevant organisations and teams (`organisation/team`) of which the user was an active member
    at the last question to GitHub; `sealed_github_token` allows to ask again, if there are any.
    """

    grant_id: str
    client_id: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    created_at: int
    expires_at: int
    user: User | None = None
    sealed_github_token: str | None = None
    groups: tuple[str, ...] = ()
    certificate: str | None = None
    dpop_key: str | None = None
    """The certificate and the key that its refresh token is bound to, if any (`oauth_core.jose.cnf`)."""
    redirect_uri_hash: str | None = None
    """The hash of the redirect URI that received its code, unless that is on the person's own machine."""

    @property
    def subject(self) -> str:
        """The subject of its tokens: the user's GitHub id, or the machine client itself."""
        return self.client_id if self.user is None else str(self.user.github_id)


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """The claims of an access token (RFC 9068 section 2.2, and row R19 of the security model).

    A machine client's token has neither `github_user` nor `github_id`, and its `sub` is its `client_id`. `groups`
    (section 2.2.3.1) are those of its grant; the token is bound to `certificate` and `dpop_key`, if any.
    """

    iss: str
    sub: str
    aud: tuple[str, ...]
    exp: int
    iat: int
    jti: str
    client_id: str
    scope: str
    github_user: str | None
    github_id: int | None
    groups: tuple[str, ...] = ()
    certificate: str | None = None
    dpop_key: str | None = None
