"""What the authorization server needs: secrets, GitHub, who may come in, and how long things live."""

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
from oauth_core.net.public_urls import is_loopback
from oauth_core.policy.eligibility import ANYBODY, Eligibility, check_organizations, check_teams, check_users
from oauth_core.settings.gateway import CommaList, RedisSettings, check_metrics_listen
from oauth_core.settings.quotas import QuotaSettings
from oauth_core.settings.rates import RateSettings
from oauth_core.settings.trusted_issuers import TrustedIssuerSettings

if TYPE_CHECKING:
    from oauth_core.flows.id_jag import TrustedIssuer

SHORTEST_ACCESS_TOKEN = 300

STANDIN_PATH = "/_github"
"""Where the local stand-in for GitHub is served; anybody can sign in there as anybody."""


def check_key(value: object) -> object:
    """A text that must be a 256-bit key, as it stands. Raises `ValueError`."""
    if isinstance(value, str):
        read_key(value)
    return value


def _check_schemes(schemes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(check_app_scheme(scheme) for scheme in schemes)


class WebSettings(RedisSettings, RateSettings, QuotaSettings):
    """What the authorization server needs. Lifetimes are seconds."""

    web_listen: str = "127.0.0.1:9000"
    web_drain_seconds: float = Field(default=3.0, ge=0, le=60)
    web_metrics_listen: Annotated[str | None, AfterValidator(check_metrics_listen)] = None
    """Where Prometheus reads metrics. This machine only: `host:port` of loopback, or `unix:/path`."""
    master_key: Annotated[SecretStr, BeforeValidator(check_key)]
    github_client_id: str
    github_client_secret: SecretStr
    github_url: str = "https://github.com"
    github_api_url: str = "https://api.github.com"
    github_backchannel_url: str | None = None
    allowed_github_users: Annotated[CommaList, AfterValidator(check_users)] = ()
    allowed_github_orgs: Annotated[CommaList, AfterValidator(check_organizations)] = ()
    allowed_github_teams: Annotated[CommaList, AfterValidator(check_teams)] = ()
    allow_short_access_tokens: bool = False
    access_token_lifetime: int = Field(default=1800, gt=0, le=86400)
    refresh_token_lifetime: int = Field(default=31_536_000, gt=0)
    client_lifetime: int = Field(default=86_400, ge=0)
    unused_client_lifetime: int = Field(default=3600, ge=60)
    invited_client_lifetime: int = Field(default=7_776_000, ge=60)
    backup_days: int = Field(default=30, ge=1, le=1825)
    """Days for which a backup may be restored over records: as long as Redis keeps that a grant was ended."""
    grants_per_user: int = Field(default=1000, ge=1)
    client_registration: Literal["open", "token", "closed"] = "open"
    client_registration_permissions: Annotated[CommaList, AfterValidator(check_names)] = ALL
    redirect_schemes: Annotated[CommaList, AfterValidator(_check_schemes)] = ()
    session_timeout: int = Field(default=600, ge=30, le=86400)
    session_lifetime: int = Field(default=43_200, ge=0, le=2_592_000)
    session_idle_lifetime: int = Field(default=3600, ge=60, le=2_592_000)
    remembered_consent_lifetime: int = Field(default=7_776_000, ge=0, le=31_536_000)
    github_timeout: float = Field(default=10.0, ge=1, le=14)
    refresh_grace: int = Field(default=10, ge=0, le=120)
    refresh_retry_window: int = Field(default=3600, ge=0, le=86400)
    refresh_reuse: Literal["end", "refuse"] = "end"
    membership_check_interval: int = Field(default=900, ge=0, le=86400)
    signing_algorithm: Literal["ES256", "ES384", "RS256", "EdDSA", "Ed25519"] = "ES256"
    client_documents: Literal["fetched", "pinned"] = "fetched"
    client_documents_max_age: int = Field(default=604_800, ge=3600)
    known_client_documents: Literal["fallback", "pinned", "off"] = "fallback"
    client_document_hosts: Annotated[CommaList, AfterValidator(check_hosts)] = ()
    pinned_client_documents: Path | None = None
    client_documents_ca_file: Path | None = None
    allow_loopback_client_documents: bool = False
    trusted_issuers: tuple[TrustedIssuerSettings, ...] = ()
    assertion_public_keys: Path | None = None

    @field_validator("access_token_lifetime")
    @classmethod
    def _access_tokens_outlive_refreshing(cls, value: int, info: ValidationInfo) -> int:
        # Clients refresh a minute early, so a very short token would make them refresh all the time.
        if value < SHORTEST_ACCESS_TOKEN and not info.data.get("allow_short_access_tokens"):
            raise ValueError("is under 300 seconds; set allow_short_access_tokens to mean it")
        return value

    @field_validator("allow_loopback_client_documents")
    @classmethod
    def _loopback_is_for_loopback(cls, value: bool, info: ValidationInfo) -> bool:  # noqa: FBT001 - pydantic's form
        # In public this would let anybody make the server ask its own machine.
        if value and not is_loopback(str(info.data.get("issuer"))):
            raise ValueError("is only for an issuer on a loopback address")
        return value

    @model_validator(mode="after")
    def _issuers_are_others(self) -> WebSettings:
        names = [one.issuer for one in self.trusted_issuers]
        if len(set(names)) != len(names):
            raise ValueError("trusted_issuers names an issuer twice")
        # Who vouches for people to itself would turn any token it gives into all that they may do.
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
    def admission(self) -> Eligibility:
        """Who may sign in. Nobody, where nothing is set; but everybody at the local stand-in for GitHub."""
        users, orgs, teams = self.allowed_github_users, self.allowed_github_orgs, self.allowed_github_teams
        if not (users or orgs or teams) and self.uses_standin:
            users = (ANYBODY,)
        return Eligibility.of(users, orgs, teams)

    @property
    def uses_standin(self) -> bool:
        """Whether people sign in at the local stand-in for GitHub, for an issuer on a loopback address.

        Each address of GitHub must be the stand-in's: a mixture of both is not the stand-in.
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
