"""The settings of the authorization server: secrets, GitHub, eligible people, and lifetimes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from oauth_core.clients.client_id_documents import check_hosts
from oauth_core.clients.redirect_uris import APP_SCHEMES, check_app_scheme
from oauth_core.clients.registration_permissions import ALL, check_names
from oauth_core.crypto.record_authentication import RecordKey
from oauth_core.crypto.sealing import read_key
from oauth_core.net.listen_addresses import check_metrics_listen
from oauth_core.net.public_urls import is_http_url, is_loopback
from oauth_core.policy.eligibility import ANYBODY, Eligibility, check_organizations, check_teams, check_users
from oauth_core.settings.definitions import Setting
from oauth_core.settings.gateway import CommaList, RedisSettings
from oauth_core.settings.mail import MailSettings
from oauth_core.settings.quotas import QuotaSettings
from oauth_core.settings.rates import RateSettings
from oauth_core.settings.trusted_issuers import TrustedIssuerSettings

if TYPE_CHECKING:
    from oauth_core.flows.id_jag import TrustedIssuer

SHORTEST_ACCESS_TOKEN = 300

STANDIN_PATH = "/_github"
"""The path of the local stand-in for GitHub, where anyone can sign in as any person."""


def check_key(value: object) -> object:
    """Check that a text is a 256-bit key, and return it unchanged. Raises `ValueError`."""
    if isinstance(value, str):
        read_key(value)
    return value


def _check_schemes(schemes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(check_app_scheme(scheme) for scheme in schemes)


def _check_github_url(url: str) -> str:
    if not is_http_url(url):
        raise ValueError("is not an http or https URL")
    return url


def _check_github_backchannel(url: str | None) -> str | None:
    return _check_github_url(url) if url else None


class WebSettings(RedisSettings, RateSettings, QuotaSettings, MailSettings):
    """The settings of the authorization server. Lifetimes are seconds."""

    web_listen: Annotated[
        str,
        Setting(
            "The address of the authorization server: `host:port` or `unix:/path`.",
            key="server.listen",
        ),
    ] = "127.0.0.1:9000"
    web_drain_seconds: Annotated[
        float,
        Setting(
            "After the signal to stop, the server serves for so long while `/healthz` answers "
            "`draining`, if something asks `/healthz`; see [availability](availability.md).",
            key="server.drain_seconds",
            unit="seconds",
        ),
    ] = Field(default=3.0, ge=0, le=60)
    web_metrics_listen: Annotated[
        str | None,
        AfterValidator(check_metrics_listen),
        Setting(
            "Where Prometheus reads the authorization server's [metrics](metrics.md): `host:port` of "
            "loopback, or `unix:/path`.",
            key="server.metrics_listen",
        ),
    ] = None
    master_key: Annotated[
        SecretStr,
        BeforeValidator(check_key),
        Setting(
            "32 random bytes in base64 (`openssl rand -base64 32`), which encrypt the signing keys. "
            "Without it all people must sign in again.",
            key="server.master_key",
        ),
    ]
    github_client_id: Annotated[
        str,
        Setting(
            "The client ID of your GitHub OAuth app.",
            key="github.client_id",
        ),
    ]
    github_client_secret: Annotated[
        SecretStr,
        Setting(
            "The client secret of your GitHub OAuth app.",
            key="github.client_secret",
        ),
    ]
    github_url: Annotated[
        str,
        AfterValidator(_check_github_url),
        Setting(
            "The address of GitHub for browsers; your Enterprise Server's, if you have one.",
            key="github.url",
        ),
    ] = "https://github.com"
    github_api_url: Annotated[
        str,
        AfterValidator(_check_github_url),
        Setting(
            "The address of GitHub's API; for an Enterprise Server, `https://HOST/api/v3`.",
            key="github.api_url",
        ),
    ] = "https://api.github.com"
    github_backchannel_url: Annotated[
        str | None,
        AfterValidator(_check_github_backchannel),
        Setting(
            "Where the authorization server reaches GitHub, if not where browsers do.",
            key="github.backchannel_url",
            default_text="`github.url`",
        ),
    ] = None
    allowed_github_users: Annotated[
        CommaList,
        AfterValidator(check_users),
        Setting(
            "People who may sign in; `*` allows every GitHub user. A login (`alice`) means the first account "
            "that was seen under it; `alice#111` means account 111 under any login. If no person, "
            "organisation and team is set, all sign-ins are refused; the local stand-in accepts all. "
            "See [incidents](incidents.md#a-login-that-changed-hands).",
            key="github.allowed_users",
            default_text="no person",
        ),
    ] = ()
    allowed_github_orgs: Annotated[
        CommaList,
        AfterValidator(check_organizations),
        Setting(
            "Active members of these organisations may sign in too. Membership is checked again at "
            "every refresh and every `github.membership_check_interval`.",
            key="github.allowed_orgs",
        ),
    ] = ()
    allowed_github_teams: Annotated[
        CommaList,
        AfterValidator(check_teams),
        Setting(
            "Members of these teams may sign in too; a team is written `organisation/team`.",
            key="github.allowed_teams",
        ),
    ] = ()
    allow_short_access_tokens: Annotated[
        bool,
        Setting(
            "Allows access tokens that are valid for less than 300 seconds; for tests.",
            key="tokens.allow_short_access_tokens",
        ),
    ] = False
    access_token_lifetime: Annotated[
        int,
        Setting(
            "How long an access token is valid. Under 300 only with `tokens.allow_short_access_tokens`: "
            "clients refresh a minute early.",
            key="tokens.access_token_lifetime",
            unit="seconds",
        ),
    ] = Field(default=1800, gt=0, le=86400)
    refresh_token_lifetime: Annotated[
        int,
        Setting(
            "How long a sign-in lasts: by default one year.",
            key="tokens.refresh_token_lifetime",
            unit="seconds",
        ),
    ] = Field(default=31_536_000, gt=0)
    client_lifetime: Annotated[
        int,
        Setting(
            "How long a registration is kept after its last grant has ended; 0 for ever. A client whose "
            "grants are valid is never deleted.",
            key="clients.lifetime",
            unit="seconds",
        ),
    ] = Field(default=86_400, ge=0)
    unused_client_lifetime: Annotated[
        int,
        Setting(
            "How long a registration is kept before a person consents to it, where registration is open.",
            key="clients.unused_lifetime",
            unit="seconds",
        ),
    ] = Field(default=3600, ge=60)
    invited_client_lifetime: Annotated[
        int,
        Setting(
            "How long a registration is kept to which no person has consented yet, if it was made with "
            "an initial access token.",
            key="clients.invited_lifetime",
            unit="seconds",
        ),
    ] = Field(default=7_776_000, ge=60)
    backup_days: Annotated[
        int,
        Setting(
            "How long a backup may be restored over the records in Redis. For so long Redis remembers "
            "which grants and clients were ended, with some 170 bytes for each, so that a backup does "
            "not bring them back. A larger value takes full effect only after so many days.",
            key="server.backup_days",
            unit="days",
        ),
    ] = Field(default=30, ge=1, le=1825)
    grants_per_user: Annotated[
        int,
        Setting(
            "Sign-ins that one person may have at once. With one more, the one that would end first ends.",
            key="tokens.grants_per_user",
        ),
    ] = Field(default=1000, ge=1)
    client_registration: Annotated[
        Literal["open", "token", "closed"],
        Setting(
            "Which callers may register a client: `open` all, `token` those with an initial access "
            "token (`portcullis clients invite`), `closed` none.",
            key="clients.registration",
            standard="RFC 7591 section 3",
        ),
    ] = "open"
    client_registration_permissions: Annotated[
        CommaList,
        AfterValidator(check_names),
        Setting(
            "Operations on a client's own registration that a registration token allows: `registration.read`, "
            "`registration.write`, `registration.delete`.",
            key="clients.registration_permissions",
            standard="RFC 7592 section 2",
            default_text="all three",
        ),
    ] = ALL
    redirect_schemes: Annotated[
        CommaList,
        AfterValidator(_check_schemes),
        Setting(
            "Schemes of apps that clients may register redirect URIs with, beside https, http on "
            "loopback, schemes with a dot (`com.example.app`) and those of well-known MCP clients "
            "(`cursor`, `vscode`, `claude` and others). Names without a colon: `myapp`.",
            key="clients.redirect_schemes",
            standard="RFC 8252 section 7.1",
        ),
    ] = ()
    session_timeout: Annotated[
        int,
        Setting(
            "The time a user has for the consent page, and again for GitHub.",
            key="sign_in.timeout",
            unit="seconds",
        ),
    ] = Field(default=600, ge=30, le=86400)
    session_lifetime: Annotated[
        int,
        Setting(
            "The longest time a browser stays signed in; 0 sends every sign-in to GitHub.",
            key="sign_in.session_lifetime",
            unit="seconds",
        ),
    ] = Field(default=43_200, ge=0, le=2_592_000)
    session_idle_lifetime: Annotated[
        int,
        Setting(
            "A browser's session ends after so long without a sign-in or a look at the account page.",
            key="sign_in.session_idle_lifetime",
            unit="seconds",
        ),
    ] = Field(default=3600, ge=60, le=2_592_000)
    remembered_consent_lifetime: Annotated[
        int,
        Setting(
            "How long an app may be remembered on the consent page; 0 asks every time.",
            key="sign_in.remembered_consent_lifetime",
            unit="seconds",
        ),
    ] = Field(default=7_776_000, ge=0, le=31_536_000)
    github_timeout: Annotated[
        float,
        Setting(
            "The time for a sign-in, and again for a look at memberships, whatever GitHub does. Both "
            "fit into the 30 seconds that Envoy waits.",
            key="github.timeout",
            unit="seconds",
        ),
    ] = Field(default=10.0, ge=1, le=14)
    refresh_grace: Annotated[
        int,
        Setting(
            "The time after the use of its successor in which a refresh token is still answered, with "
            "the current one.",
            key="tokens.refresh_grace",
            unit="seconds",
        ),
    ] = Field(default=10, ge=0, le=120)
    refresh_retry_window: Annotated[
        int,
        Setting(
            "The time after its first use in which a refresh token is answered with the same successor "
            "again, as long as that successor has not been used: for answers that got lost, and for "
            "clients of several processes.",
            key="tokens.refresh_retry_window",
            unit="seconds",
        ),
    ] = Field(default=3600, ge=0, le=86400)
    refresh_reuse: Annotated[
        Literal["end", "refuse"],
        Setting(
            "The effect of later reuse of a refresh token: `end` ends its sign-in with all its tokens, "
            "`refuse` only refuses. Both are audited as `refresh.reused` and counted in "
            "[`portcullis_audit_events_total`](metrics.md#the-authorization-server), with an alert "
            "rule.",
            key="tokens.refresh_reuse",
            standard="RFC 9700 section 4.14",
        ),
    ] = "end"
    membership_check_interval: Annotated[
        int,
        Setting(
            "The time between two checks whether all people with a grant are still allowed and in "
            "the same groups; 0 checks at refreshes only.",
            key="github.membership_check_interval",
            unit="seconds",
        ),
    ] = Field(default=900, ge=0, le=86400)
    signing_algorithm: Annotated[
        Literal["ES256", "ES384", "RS256", "EdDSA", "Ed25519"],
        Setting(
            "The algorithm of the next signing key that is made. `RS256` keys have 4096 bits; `Ed25519` "
            "is the newer name of `EdDSA` (RFC 9864), which not every library knows.",
            key="tokens.signing_algorithm",
            standard="RFC 7518 section 3.1",
        ),
    ] = "ES256"
    client_documents: Annotated[
        Literal["fetched", "pinned"],
        Setting(
            "`pinned`: clients' metadata documents are not fetched; only the pinned ones are known, and "
            "advertised if there are any. For a gateway "
            "[without internet access](#without-internet-access).",
            key="clients.documents",
            standard="draft-ietf-oauth-client-id-metadata-document, Client Information Discovery",
        ),
    ] = "fetched"
    client_documents_max_age: Annotated[
        int,
        Setting(
            "How long the last good copy of a client's document or keys is used while no newer one can "
            "be fetched.",
            key="clients.documents_max_age",
            unit="seconds",
        ),
    ] = Field(default=604_800, ge=3600)
    known_client_documents: Annotated[
        Literal["fallback", "pinned", "off"],
        Setting(
            "The use of the documents that ship with Portcullis (Claude Code, Visual Studio Code, "
            "Codex, opencode, Zed): `fallback`: used when a client's own document was never fetched and "
            "cannot be; `pinned`: used instead of fetching; `off`: not used.",
            key="clients.known_documents",
        ),
    ] = "fallback"
    client_document_hosts: Annotated[
        CommaList,
        AfterValidator(check_hosts),
        Setting(
            "Hosts whose clients' metadata documents are accepted: `claude.ai`, or `*.example.com` for "
            "every host below. A client of another host can neither sign in nor refresh. Pinned "
            "documents are always accepted.",
            key="clients.document_hosts",
            default_text="every host",
        ),
    ] = ()
    pinned_client_documents: Annotated[
        Path | None,
        Setting(
            "A folder of `*.json`: metadata documents of clients you know, used instead of fetching them.",
            key="clients.pinned_documents",
        ),
    ] = None
    client_documents_ca_file: Annotated[
        Path | None,
        Setting(
            "A PEM file of further authorities to trust when clients' documents are fetched.",
            key="clients.documents_ca_file",
        ),
    ] = None
    allow_loopback_client_documents: Annotated[
        bool,
        Setting(
            "Fetch clients' documents from this machine too; for tests, with a loopback `issuer` only.",
            key="clients.allow_loopback_documents",
        ),
    ] = False
    trusted_issuers: Annotated[
        tuple[TrustedIssuerSettings, ...],
        Setting(
            "One `[[trusted_issuers]]` table for each identity provider that may vouch for people, see "
            "[enterprise](enterprise.md).",
        ),
    ] = ()
    assertion_public_keys: Annotated[
        Path | None,
        Setting(
            "A PEM file of the public keys that services verify assertions with, published at "
            "`/.well-known/service-assertion-jwks.json`.",
            key="server.assertion_public_keys",
            standard="RFC 7517 section 5",
        ),
    ] = None

    @field_validator("access_token_lifetime")
    @classmethod
    def _access_tokens_outlive_refreshing(cls, value: int, info: ValidationInfo) -> int:
        # Clients refresh a minute early, so with a very short token they would refresh all the time.
        if value < SHORTEST_ACCESS_TOKEN and not info.data.get("allow_short_access_tokens"):
            raise ValueError("is under 300 seconds; set tokens.allow_short_access_tokens to mean it")
        return value

    @field_validator("allow_loopback_client_documents")
    @classmethod
    def _loopback_is_for_loopback(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's form
        # In public, any caller could make the server send requests to its own machine.
        if value and not is_loopback(str(info.data.get("issuer"))):
            raise ValueError("is only for an issuer on a loopback address")
        return value

    @model_validator(mode="after")
    def _issuers_are_others(self) -> WebSettings:
        names = [one.issuer for one in self.trusted_issuers]
        if len(set(names)) != len(names):
            raise ValueError("trusted_issuers names an issuer twice")
        # An issuer that vouches for people to itself would turn any token into all rights of its person.
        if self.issuer in names:
            raise ValueError("trusted_issuers names the issuer of this gateway itself")
        return self

    @property
    def resolved_trusted_issuers(self) -> tuple[TrustedIssuer, ...]:
        """The identity providers that may vouch for people."""
        return tuple(one.resolved for one in self.trusted_issuers)

    @property
    def app_schemes(self) -> frozenset[str]:
        """Schemes without a dot that redirect URIs may have: those of known apps, and the operator's own."""
        return APP_SCHEMES.union(self.redirect_schemes)

    @property
    def eligibility(self) -> Eligibility:
        """The rule of eligibility. Without settings no person is eligible; at the local stand-in all are."""
        users, orgs, teams = self.allowed_github_users, self.allowed_github_orgs, self.allowed_github_teams
        if not (users or orgs or teams) and self.uses_standin:
            users = (ANYBODY,)
        return Eligibility.from_lists(users, orgs, teams)

    @property
    def uses_standin(self) -> bool:
        """Whether people sign in at the local stand-in for GitHub, for an issuer on a loopback address.

        Each address of GitHub must be the stand-in's: a mixture of both does not count.
        """
        addresses = (self.github_url, self.github_api_url, self.github_backchannel_url or self.github_url)
        return self.is_local and all(urlsplit(url).path.startswith(STANDIN_PATH) for url in addresses)

    @property
    def record_key(self) -> RecordKey:
        """The key that authenticates records in Redis. It is derived from the master key."""
        return RecordKey(self.master_key_bytes)

    @property
    def master_key_bytes(self) -> bytes:
        """The 256-bit key that encrypts private keys at rest."""
        return read_key(self.master_key.get_secret_value())
