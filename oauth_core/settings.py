"""What an operator can set: one file for what is public, the environment for secrets, read once.

`load` merges, weakest first: defaults, `portcullis.toml`, the environment (`NAME`, the field's name in capitals)
and, for secrets, files named by `NAME_FILE`. All faults are reported together, so that a tired operator mends
them in one go. The environment is an argument: nothing here looks around by itself.
"""

from __future__ import annotations

import base64
import binascii
import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from oauth_core.errors import SettingsError
from oauth_core.model import Service

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic_core import ErrorDetails

CONFIG_VARIABLE = "PORTCULLIS_CONFIG"
SHORTEST_ACCESS_TOKEN = 300
MASTER_KEY_BYTES = 32

WEB_PATHS = (
    "/authorize",
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


def is_loopback(url: str) -> bool:
    """Whether the host of `url` names this machine only (RFC 8252 section 7.3, and `localhost`)."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def check_public_url(url: str, *, what: str) -> str:
    """Return `url` when it is fit to identify something for ever; raise `ValueError` saying why not.

    It must already be in the one spelling that everybody will compare byte for byte: https (http on loopback),
    a lower-case host, no user info, query, fragment, default port, dot segment or escape.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"{what} {url!r} is not a URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{what} {url!r} is not an http or https URL")
    if parts.scheme == "http" and not is_loopback(url):
        raise ValueError(f"{what} {url!r} must use https; only loopback addresses may use http")
    if parts.netloc != parts.netloc.lower() or "@" in parts.netloc:
        raise ValueError(f"{what} {url!r} must have a lower-case host and no user name")
    if parts.query or parts.fragment or "?" in url or "#" in url:
        raise ValueError(f"{what} {url!r} must not have a query or a fragment")
    if port == {"http": 80, "https": 443}[parts.scheme]:
        raise ValueError(f"{what} {url!r} must leave its default port out")
    segments = parts.path.split("/")[1:]
    if "%" in parts.path or "\\" in url or any(s in {"", ".", ".."} for s in segments):
        raise ValueError(f"{what} {url!r} must not have a trailing slash, empty, dotted or escaped path segments")
    return url


class ServiceSettings(BaseModel):
    """One `[[services]]` table. Exactly one of `upstream` and `command` says where the service is.

    `portcullis up` runs a `command`: a stdio server is bridged to HTTP; with `transport = "http"` the command
    serves streamable HTTP itself, at path `/mcp` of the Unix socket that replaces `{socket}` in its arguments.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,62}$")
    title: str | None = None
    url: str | None = None
    upstream: str | None = None
    command: tuple[str, ...] | None = None
    transport: Literal["stdio", "http"] = "stdio"
    scope: str | None = Field(default=None, pattern=r"^[a-z][a-z0-9._:-]{0,127}$")

    @model_validator(mode="after")
    def _one_origin(self) -> ServiceSettings:
        if (self.upstream is None) == (self.command is None):
            raise ValueError("needs exactly one of upstream (a URL) and command (a stdio server)")
        if self.command is not None and not self.command:
            raise ValueError("command is empty")
        return self


class GatewaySettings(BaseModel):
    """What every program must know: who the issuer is and which services there are."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    issuer: str
    base_domain: str | None = None
    services: tuple[ServiceSettings, ...] = Field(min_length=1)
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
        check_public_url(self.issuer, what="issuer")
        if urlsplit(self.issuer).path:
            raise ValueError(f"issuer {self.issuer!r} must not have a path")
        seen: dict[str, str] = {}
        for service in self.resolved_services:
            check_public_url(service.resource, what=f"url of service {service.name}")
            for key in (service.name, service.resource):
                if key in seen:
                    raise ValueError(f"services {seen[key]} and {service.name} are both {key!r}")
                seen[key] = service.name
            path = urlsplit(service.resource).path
            if self._on_issuer_host(service) and (not path or path.startswith(WEB_PATHS)):
                raise ValueError(
                    f"url of service {service.name} takes a path of the authorization server: {path or '/'}"
                )
        known = {service.scope for service in self.resolved_services}
        if unknown := [scope for scope in self.default_scopes if scope not in known]:
            raise ValueError(f"default_scopes names scopes of no service: {' '.join(unknown)}")
        return self

    def _on_issuer_host(self, service: Service) -> bool:
        return urlsplit(service.resource).netloc == urlsplit(self.issuer).netloc

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

    redis_url: str = "redis://127.0.0.1:6379/0"
    redis_password: SecretStr | None = None
    redis_timeout: float = Field(default=1.0, gt=0, le=30)


def _master_key(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        key = base64.b64decode(value, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != MASTER_KEY_BYTES:
        raise ValueError("must be 32 random bytes in base64; make one with: openssl rand -base64 32")
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
    access_token_lifetime: int = Field(default=1800, gt=0, le=86400)
    allow_short_access_tokens: bool = False
    refresh_token_lifetime: int = Field(default=31_536_000, gt=0)
    client_lifetime: int = Field(default=7_776_000, ge=0)
    session_timeout: int = Field(default=600, ge=30, le=86400)
    refresh_grace: int = Field(default=10, ge=0, le=120)
    signing_algorithm: Literal["ES256", "ES384", "RS256", "EdDSA"] = "ES256"

    @model_validator(mode="after")
    def _access_tokens_outlive_refreshing(self) -> WebSettings:
        # Clients refresh a minute early, so a very short token would make them refresh all the time.
        if self.access_token_lifetime < SHORTEST_ACCESS_TOKEN and not self.allow_short_access_tokens:
            raise ValueError(
                "access_token_lifetime is under 300 seconds; set allow_short_access_tokens to mean it"
            )
        return self

    @property
    def master_key_bytes(self) -> bytes:
        """The 256-bit key that encrypts private keys at rest."""
        return base64.b64decode(self.master_key.get_secret_value(), altchars=b"-_")


class AuthzSettings(RedisSettings):
    """What the check service needs: no private key, no GitHub secret, no writing to Redis."""

    authz_listen: str = "127.0.0.1:9001"


class EnvoySettings(GatewaySettings):
    """What the rendered Envoy configuration needs. Addresses are `host:port` or `unix:/path`."""

    envoy_listen: CommaList = ("127.0.0.1:8080",)
    envoy_admin: str = "127.0.0.1:9901"
    web_upstream: str = "127.0.0.1:9000"
    authz_upstream: str = "127.0.0.1:9001"
    standin_upstream: str | None = None
    max_request_bytes: int = Field(default=4 * 1024 * 1024, ge=64 * 1024, le=256 * 1024 * 1024)


SettingsType = TypeVar("SettingsType", bound=GatewaySettings)
_KINDS: tuple[type[GatewaySettings], ...] = (WebSettings, AuthzSettings, EnvoySettings)
_FIELDS = frozenset(name for kind in _KINDS for name in kind.model_fields)
SECRETS = frozenset({"master_key", "github_client_secret", "redis_password"})
"""Fields that only the environment or a mounted file may carry, never the settings file or a command line."""


def load(kind: type[SettingsType], config: Path | None, environ: Mapping[str, str]) -> SettingsType:
    """Read the settings of one program.

    `config` is the settings file; `None` means the one named by `PORTCULLIS_CONFIG`, if any.
    Raises `SettingsError` with every fault found.
    """
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    faults: list[str] = []
    values = _from_file(config, faults) if config is not None else {}
    values |= _from_environment(kind, environ, faults)
    try:
        settings = kind.model_validate(values)
    except ValidationError as error:
        raise SettingsError([*faults, *(_fault(detail) for detail in error.errors())]) from None
    if faults:
        raise SettingsError(faults)
    return settings


def _from_file(config: Path, faults: list[str]) -> dict[str, object]:
    try:
        values: dict[str, object] = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError([f"{config}: {error.strerror or error}"]) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError([f"{config}: {error}"]) from None
    faults += [f"{config}: unknown setting {name!r}" for name in values if name not in _FIELDS]
    faults += [
        f"{config}: {name} is a secret; set {name.upper()} or {name.upper()}_FILE in the environment instead"
        for name in values
        if name in SECRETS
    ]
    return values


def _from_environment(
    kind: type[GatewaySettings], environ: Mapping[str, str], faults: list[str]
) -> dict[str, object]:
    values: dict[str, object] = {}
    for name in kind.model_fields:
        variable = name.upper()
        if name != "services" and variable in environ:
            values[name] = environ[variable]
        if name in SECRETS and (file := environ.get(f"{variable}_FILE")):
            if variable in environ:
                faults.append(f"{variable} and {variable}_FILE are both set")
            try:
                values[name] = Path(file).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                faults.append(f"{variable}_FILE: {file}: {getattr(error, 'strerror', None) or error}")
    return values


def _fault(detail: ErrorDetails) -> str:
    """One readable line for one of pydantic's findings; never the value, which may be a secret."""
    where = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "missing":
        name = where.upper()
        secret = f" (or {name}_FILE)" if where in SECRETS else ""
        return (
            f"{where} is not set: put it in the settings file or in {name}{secret}"
            if not secret
            else (f"{where} is not set: set {name}{secret}")
        )
    message = detail["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
