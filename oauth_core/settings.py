"""What an operator can set: one file for what is public, the environment for secrets, read once.

`load` merges, weakest first: defaults, `portcullis.toml`, the environment (`NAME`, the field's name in capitals)
and, for secrets, files named by `NAME_FILE`. All faults are reported together, so that a tired operator mends
them in one go. The environment is an argument: nothing here looks around by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from oauth_core.admission import Admission, check_teams
from oauth_core.errors import SettingsError
from oauth_core.model import Service
from oauth_core.public_urls import check_redis_url, faults_of, is_loopback
from oauth_core.sealing import read_key
from oauth_core.service_settings import ServiceSettings
from oauth_core.settings_sources import SECRET_FIELDS, from_environment, from_file, validated

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONFIG_VARIABLE = "PORTCULLIS_CONFIG"
SHORTEST_ACCESS_TOKEN = 300

WEB_PATHS = (
    "/authorize",
    "/device",
    "/device_authorization",
    "/token",
    "/register",
    "/revoke",
    "/introspect",
    "/callback",
    "/.well-known",
    "/_github",
    "/healthz",
)
"""Paths of the issuer's host that belong to the authorization server, so no service may claim them."""


def _comma_list(value: object) -> object:
    """`a, b` from the environment, or a list from the file."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]


class GatewaySettings(BaseModel):
    """What every program must know: who the issuer is and which services there are."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    issuer: str
    base_domain: str | None = None
    services: tuple[ServiceSettings, ...]
    default_scopes: CommaList = ()
    allowed_origins: CommaList = ()
    run_dir: Path = Path("/run/portcullis")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @model_validator(mode="before")
    @classmethod
    def _issuer_from_domain(cls, data: dict[str, object]) -> dict[str, object]:
        if data.get("base_domain") and not data.get("issuer"):
            return data | {"issuer": f"https://auth.{data['base_domain']}"}
        return data

    @model_validator(mode="after")
    def _consistent(self) -> GatewaySettings:
        if faults := list(self._faults()):
            raise ValueError("\n".join(faults))
        return self

    def _faults(self) -> Iterator[str]:
        """What is wrong with values that are each well-formed, one line a fault."""
        issuer_faults = list(faults_of(self.issuer, what="issuer"))
        if not issuer_faults and urlsplit(self.issuer).path:
            issuer_faults.append(f"issuer {self.issuer!r} must not have a path")
        yield from issuer_faults
        if not self.services:
            yield "services is empty: name at least one service"
        seen: dict[str, str] = {}
        for service in self.resolved_services:
            for key in (service.name, service.resource):
                if key in seen:
                    yield f"services {seen[key]} and {service.name} are both {key!r}"
                seen[key] = service.name
            if issuer_faults and service.resource.startswith(self.issuer):
                continue  # said already
            faults = list(faults_of(service.resource, what=f"url of service {service.name}"))
            yield from faults
            if not faults and not issuer_faults:
                yield from self._path_faults(service)
        known = {service.scope for service in self.resolved_services}
        if unknown := [scope for scope in self.default_scopes if scope not in known]:
            yield f"default_scopes names scopes of no service: {' '.join(unknown)}"

    def _path_faults(self, service: Service) -> Iterator[str]:
        url, issuer = urlsplit(service.resource), urlsplit(self.issuer)
        taken = any(f"{url.path}/".startswith(f"{path}/") for path in ("", *WEB_PATHS) if path or not url.path)
        if url.netloc == issuer.netloc and taken:
            yield f"url of service {service.name} takes a path of the authorization server: {url.path or '/'}"

    @property
    def is_local(self) -> bool:
        """Whether this gateway serves this machine only, so that http and the local sign-in are fit for it."""
        return is_loopback(self.issuer)

    @property
    def resolved_services(self) -> tuple[Service, ...]:
        """The services with every default filled in."""
        return tuple(self._resolve(service) for service in self.services)

    def service_socket(self, name: str) -> Path:
        """The Unix socket of a service that `portcullis up` runs."""
        return self.run_dir / f"service-{name}.sock"

    def _resolve(self, service: ServiceSettings) -> Service:
        url = service.url
        if url is None:
            url = f"https://{service.name}.{self.base_domain}/mcp" if self.base_domain else f"/{service.name}/mcp"
        return Service(
            name=service.name,
            title=service.title or service.name,
            resource=f"{self.issuer}{url}" if url.startswith("/") else url,
            upstream=service.upstream or f"unix:{self.service_socket(service.name)}:/mcp",
            scope=service.scope or f"mcp.{service.name}",
        )


class RedisSettings(GatewaySettings):
    """How to reach Redis. `redis_password` counts unless the URL carries a password."""

    redis_url: Annotated[str, AfterValidator(check_redis_url)] = "redis://127.0.0.1:6379/0"
    redis_password: SecretStr | None = None
    redis_timeout: float = Field(default=1.0, gt=0, le=30)


def _master_key(value: object) -> object:
    if isinstance(value, str):
        read_key(value)
    return value


class WebSettings(RedisSettings):
    """What the authorization server needs. Lifetimes are seconds."""

    web_listen: str = "127.0.0.1:9000"
    master_key: Annotated[SecretStr, BeforeValidator(_master_key)]
    github_client_id: str
    github_client_secret: SecretStr
    github_url: str = "https://github.com"
    github_api_url: str = "https://api.github.com"
    github_backchannel_url: str | None = None
    allowed_github_users: CommaList = ()
    allowed_github_orgs: CommaList = ()
    allowed_github_teams: Annotated[CommaList, AfterValidator(check_teams)] = ()
    allow_short_access_tokens: bool = False
    access_token_lifetime: int = Field(default=1800, gt=0, le=86400)
    refresh_token_lifetime: int = Field(default=31_536_000, gt=0)
    client_lifetime: int = Field(default=7_776_000, ge=0)
    session_timeout: int = Field(default=600, ge=30, le=86400)
    refresh_grace: int = Field(default=10, ge=0, le=120)
    signing_algorithm: Literal["ES256", "ES384", "RS256", "EdDSA"] = "ES256"
    pinned_client_documents: Path | None = None
    client_documents_ca_file: Path | None = None
    allow_loopback_client_documents: bool = False

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

    @property
    def admission(self) -> Admission:
        """Who may sign in."""
        return Admission.of(self.allowed_github_users, self.allowed_github_orgs, self.allowed_github_teams)

    @property
    def master_key_bytes(self) -> bytes:
        """The 256-bit key that encrypts private keys at rest."""
        return read_key(self.master_key.get_secret_value())


class AuthzSettings(RedisSettings):
    """What the check service needs: no private key, no GitHub secret, no writing to Redis."""

    authz_listen: CommaList = ("127.0.0.1:9001",)
    revocation_bound: float = Field(default=1.0, ge=0.05, le=30)
    """The longest, in seconds, that a revoked token may pass, whatever breaks. Heartbeats are a quarter of it."""
    remembered_tokens: int = Field(default=100_000, ge=1)
    """How many tokens each process certainly keeps in memory, 2 KB each; it may keep twice as many."""
    concurrent_reads: int = Field(default=1000, ge=1)
    """How many tokens each process asks Redis about at once; who comes on top is told to come again."""
    audit_allowed: Literal["all", "none"] = "all"
    """Whether allowed requests are in the audit log. Refused ones always are."""
    authz_transport: Literal["auto", "pyvoy", "grpcio"] = "auto"
    authz_workers: int = Field(default=0, ge=0, le=256)
    authz_tls_cert: Path | None = None
    authz_tls_key: Path | None = None
    authz_tls_client_ca: Path | None = None
    authz_drain_seconds: float = Field(default=5.0, gt=0, le=300)
    authz_hang_seconds: float = Field(default=5.0, ge=1, le=300)

    @model_validator(mode="after")
    def _whole_identity(self) -> AuthzSettings:
        if (self.authz_tls_cert is None) != (self.authz_tls_key is None):
            raise ValueError("authz_tls_cert and authz_tls_key belong together")
        if self.authz_tls_client_ca and not self.authz_tls_cert:
            raise ValueError("authz_tls_client_ca needs authz_tls_cert and authz_tls_key")
        return self


class EnvoySettings(GatewaySettings):
    """What the rendered Envoy configuration needs. Addresses are `host:port` or `unix:/path`."""

    envoy_listen: CommaList = ("127.0.0.1:8080",)
    envoy_admin: str = "127.0.0.1:9901"
    web_upstream: str = "127.0.0.1:9000"
    authz_upstream: CommaList = ("127.0.0.1:9001",)
    authz_upstream_ca: Path | None = None
    authz_upstream_name: str | None = None
    authz_upstream_cert: Path | None = None
    authz_upstream_key: Path | None = None
    standin_upstream: str | None = None
    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)

    @model_validator(mode="after")
    def _whole_client_identity(self) -> EnvoySettings:
        if (self.authz_upstream_cert is None) != (self.authz_upstream_key is None):
            raise ValueError("authz_upstream_cert and authz_upstream_key belong together")
        if not self.authz_upstream_ca and (self.authz_upstream_cert or self.authz_upstream_name):
            raise ValueError("authz_upstream_cert and authz_upstream_name need authz_upstream_ca")
        return self


SettingsType = TypeVar("SettingsType", bound=GatewaySettings)
_KINDS: tuple[type[GatewaySettings], ...] = (WebSettings, AuthzSettings, EnvoySettings)
_FIELDS = frozenset(name for kind in _KINDS for name in kind.model_fields)
SECRETS = SECRET_FIELDS


def load(kind: type[SettingsType], config: Path | None, environ: Mapping[str, str]) -> SettingsType:
    """Read the settings of one program.

    `config` is the settings file; `None` means the one named by `PORTCULLIS_CONFIG`, if any.
    Raises `SettingsError` with every fault found.
    """
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    faults: list[str] = []
    values = from_file(config, _FIELDS, faults) if config is not None else {}
    values |= from_environment(kind.model_fields, environ, faults)
    # What every program needs is looked at by itself first: pydantic compares values with each other only when
    # each is well-formed, and a missing secret must not hide a bad address.
    validated(GatewaySettings, values, faults)
    settings = validated(kind, values, faults)
    if settings is None or faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return settings
