"""The nouns of the product, as frozen values. Nothing here does I/O or reads a clock.

Times are whole seconds since the epoch. Secrets appear only hashed: see `oauth_core.crypto.credentials`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ClientAuthMethod = Literal["none", "client_secret_basic", "client_secret_post", "private_key_jwt"]


@dataclass(frozen=True, slots=True)
class NameRule:
    """Every permission in `permissions` is needed for the names that `pattern` (`*` for anything) describes."""

    pattern: str
    permissions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ToolRules:
    """What the methods of a service, and the names they use, need: see `oauth_core.policy.tool_rules`.

    `otherwise` are the permissions for what no rule names; without them nobody may do it.
    """

    methods: tuple[NameRule, ...] = ()
    tools: tuple[NameRule, ...] = ()
    prompts: tuple[NameRule, ...] = ()
    resources: tuple[NameRule, ...] = ()
    otherwise: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One MCP service behind the gateway.

    `resource` is its public URL and, byte for byte, its resource identifier (RFC 8707, RFC 9728).
    `upstream` is where Envoy finds it: `http://host:port/path`, or `unix:/socket:/path`.
    `scope` is what clients ask for, to reach it; `named_permissions` are those it knows, if others, and people
    read `permission_titles` for them. `rules` say what needs which: only then a body matters. With `assertion` it
    is told who calls in a signed form. Without `subpaths` only `resource` itself is reachable, not paths below it.
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

    @property
    def permissions(self) -> tuple[str, ...]:
        """The permissions that have to do with it: without rules all are needed, with rules it depends."""
        return self.named_permissions or (self.scope,)


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who signed in with GitHub. `github_id` never changes; `login` can."""

    github_id: int
    login: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class KnownUser:
    """Somebody as they last signed in; with `is_vouched_for` an identity provider only said who they are."""

    user: User
    signed_in_at: int
    is_vouched_for: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """An operator shut somebody out at second `since`. `login` is what they were called, if known."""

    github_id: int
    since: int
    login: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client, registered (RFC 7591 section 2) or described by the document that its id is the URL of.

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
    """What the client may do as itself; only the operator's command sets it
    (`oauth_core.flows.client_credentials`).
    """
    jwks: str | None = None
    jwks_uri: str | None = None
    registration_permissions: tuple[str, ...] = ("registration.read", "registration.write", "registration.delete")
    """What its registration token lets it do (`oauth_core.clients.registration_permissions`)."""
    certificate_bound: bool = False
    dpop_bound: bool = False
    """Whether its tokens are to count only with a certificate (RFC 8705 section 3.4), with a key (RFC 9449)."""
    invited: bool = False
    """Whether it registered its redirect URIs with an initial access token that an operator made."""


@dataclass(frozen=True, slots=True)
class InitialAccessToken:
    """Leave to register a client (RFC 7591 section 3), `uses` times, up to second `expires_at`.

    Clients that register with it have `registration_permissions`, and may ask to act as themselves within
    `machine_scopes`. `issued_to` asked for it, if not the operator.
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
    """A validated request at `/authorize`: everything in it may be acted upon. Codes are bound to `dpop_key`."""

    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    code_challenge: str
    state: str | None = None
    dpop_key: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """What a device asks for, in the browser of the person who entered its user code.

    `device_hash` is the hash of the device code: enough to decide about the device, not to be it.
    """

    device_hash: str
    client_id: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AccountVisit:
    """Somebody signs in to look at their own account; no client asks for anything."""

    page: Literal["/account"] = "/account"


@dataclass(frozen=True, slots=True)
class PendingAuthorization:
    """A request that waits for its user, bound to the browser that started it.

    `browser_hash` is the hash of that browser's cookie. `session_hash` names the session whose user the page
    spoke to; without one the way leads through GitHub, to whose account picker if `picks_account`.
    `client_fingerprint` is the client as the page showed it.
    """

    request: AuthorizationRequest | DeviceRequest | AccountVisit
    browser_hash: str
    session_hash: str | None = None
    client_fingerprint: str = ""
    picks_account: bool = False


@dataclass(frozen=True, slots=True)
class SignIn:
    """A journey to GitHub under way: found again by GitHub's `state`, once.

    With `remembers` the user wants not to be asked again.
    """

    pending: PendingAuthorization
    remembers: bool = False


@dataclass(frozen=True, slots=True)
class AuthorizationCode:
    """What a code stands for. Its grant's id is chosen when the code is, so a replay can find the grant.

    `allowed_at` is the second at which its user was found to be who they are.
    """

    grant_id: str
    request: AuthorizationRequest
    user: User
    sealed_github_token: str | None = None
    groups: tuple[str, ...] = ()
    allowed_at: int = 0


@dataclass(frozen=True, slots=True)
class DeviceAuthorization:
    """What a device code stands for (RFC 8628 section 3.2). Its grant's id is chosen when the code is."""

    grant_id: str
    client_id: str
    scopes: tuple[str, ...]
    resources: tuple[str, ...]
    created_at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class DevicePace:
    """How fast a device may poll: `interval` seconds between polls, of which the last came at `polled_at`."""

    interval: int
    polled_at: int | None = None


@dataclass(frozen=True, slots=True)
class DeviceDecision:
    """What the person decided about a device: it acts as `user`, or not at all. The rest is as in a code."""

    user: User | None = None
    sealed_github_token: str | None = None
    groups: tuple[str, ...] = ()
    allowed_at: int = 0


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user allowed a client: one sign-in, one family of refresh tokens.

    Without a user it is what the operator allows a machine client, which has no refresh tokens.
    `groups` are the organisations and teams (`organisation/team`), of those that matter here, that the user was an
    active member of when GitHub was last asked; `sealed_github_token` is there if it was, to ask again.
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
    """The certificate and the key that its refresh token is bound to, if any (`oauth_core.jose.confirmation`)."""
    redirect_uri_hash: str | None = None
    """The hash of the redirect URI that its code was sent to, unless that is on the person's own machine."""

    @property
    def subject(self) -> str:
        """Whom its tokens speak for: the user's GitHub id, or the machine client itself."""
        return self.client_id if self.user is None else str(self.user.github_id)


@dataclass(frozen=True, slots=True)
class AccessClaims:
    """The claims of an access token (RFC 9068 section 2.2, and row R19 of the security model).

    A machine client's token has neither `github_user` nor `github_id`, and its `sub` is its `client_id`.
    `groups` (section 2.2.3.1) are those of its grant; it is bound to `certificate` and `dpop_key`, if any.
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
