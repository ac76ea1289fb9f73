"""The settings of every program, and those for the connection to Redis."""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from oauth_core.crypto.digests import sha256_hex
from oauth_core.limits.call_limits import NO_SERVICE_LIMITS
from oauth_core.model import Service, ToolRules
from oauth_core.net.public_urls import faults_of, is_loopback, origin_of, path_of, read_origin
from oauth_core.net.quoted_addresses import quoted
from oauth_core.net.redis_address import check_redis_url
from oauth_core.policy.rbac import RbacPolicy
from oauth_core.policy.scopes import of_service
from oauth_core.settings.definitions import Setting
from oauth_core.settings.identity_headers import IdentityHeaders, read_identity_headers
from oauth_core.settings.policy_faults import PlacedError, policy_faults
from oauth_core.settings.roles import ROLE_NAME, RoleSettings
from oauth_core.settings.services import ServiceSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST_PATHS = ("/.well-known", "/_github", "/healthz")
"""Paths at the root of the issuer's host that belong to the authorization server, for an issuer with any path."""

WEB_PATHS = (
    "/account",
    "/authorize",
    "/device",
    "/device_authorization",
    "/token",
    "/register",
    "/revoke",
    "/introspect",
    "/callback",
    *HOST_PATHS,
)
"""Paths of an issuer without a path, so no service may use them. Below an issuer's path all belongs to the issuer.
"""


def _comma_list(value: object) -> object:
    """Read `a, b` from the environment, or a list from the file."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _lower_case(value: object) -> object:
    """Read `INFO`, the spelling of other programs, as `info`."""
    return value.lower() if isinstance(value, str) else value


CommaList = Annotated[tuple[str, ...], BeforeValidator(_comma_list, json_schema_input_type=str | tuple[str, ...])]


_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*(:[0-9]{1,5})?")


def _check_domain(value: str | None) -> str | None:
    """Check a domain that contains the issuer and the services. Raises `ValueError`."""
    if value and not _DOMAIN.fullmatch(value):
        raise ValueError("must be a domain name in lower case, such as example.com")
    return value


_NODE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def _check_node(value: str | None) -> str | None:
    """Check the name of a machine in the audit record. Raises `ValueError`."""
    if value and not _NODE.fullmatch(value):
        raise ValueError("must be 1 to 64 of the characters a-z, 0-9, _ . and -, the first a letter or digit")
    return value or None


def _origins(texts: tuple[str, ...]) -> tuple[str, ...]:
    origins: dict[str, None] = {}
    for number, text in enumerate(texts, 1):
        try:
            origins[read_origin(text)] = None
        except ValueError as error:
            raise ValueError(f"number {number}{quoted(text)} is none that a browser sends: {error}") from None
    return tuple(origins)


class GatewaySettings(BaseModel):
    """The settings of every program: the issuer and the services."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    issuer: Annotated[
        str,
        Setting(
            "The authorization server's address, without a trailing slash. `http` is allowed on "
            "loopback only. It may have a path; everything below that path is the authorization "
            "server's. A `BASE_DOMAIN` in the environment is stronger than an `issuer` in the file.",
            standard="RFC 8414 section 2",
            default_text="`https://auth.<base_domain>`",
        ),
    ]
    base_domain: Annotated[
        str | None,
        AfterValidator(_check_domain),
        Setting("Gives `issuer`, and services without a `url`, a place below one domain."),
    ] = None
    services: Annotated[
        tuple[ServiceSettings, ...],
        Setting("One `[[services]]` table for each service, see below."),
    ]
    roles: Annotated[
        dict[Annotated[str, Field(pattern=ROLE_NAME)], RoleSettings],
        Setting(
            "One `[roles.NAME]` table for each role: which people have which permissions, see "
            "[permissions](permissions.md).",
        ),
    ] = Field(default_factory=dict)
    default_scopes: Annotated[
        CommaList,
        Setting(
            "The scopes that a client gets when it asks for no scope and no resource.",
            key="tokens.default_scopes",
            standard="RFC 6749 section 3.3",
            default_text="every service's",
        ),
    ] = ()
    allowed_origins: Annotated[
        CommaList,
        AfterValidator(_origins),
        Setting(
            "Origins whose pages may call the gateway (CORS): scheme, host and port, such as "
            "`https://app.example.com`. The scheme is `http`, `https`, that of a browser's extensions "
            "(`chrome-extension`, `moz-extension`, `safari-web-extension`) or of apps made of web pages "
            "(`app`, `capacitor`, `ionic`, `tauri`, `vscode-webview`). There is no wildcard. On loopback, "
            "other loopback origins are always allowed.",
        ),
    ] = ()
    identity_headers: Annotated[
        IdentityHeaders,
        BeforeValidator(read_identity_headers),
        Setting(
            "The names of the headers that tell a service about the caller, see below.",
            default_text="see below",
        ),
    ] = IdentityHeaders()
    certificate_bound_tokens: Annotated[
        Literal["off", "asked", "required"],
        Setting(
            "`asked`: tokens of clients whose metadata asks for it are valid only with the client's "
            "certificate; `required`: tokens of all clients. See [identity](identity.md).",
            key="tokens.certificate_bound",
            standard="RFC 8705 section 3",
        ),
    ] = "off"
    run_dir: Annotated[
        Path,
        Setting("The folder of the sockets of services with a `command`. `portcullis up` chooses its own."),
    ] = Path("/run/portcullis")
    log_file: Annotated[
        Path | None,
        Setting(
            "A file to which the log is appended, with the text of events (`audit.text`), in place of standard "
            "output. It "
            "may be renamed at any time, for example by `logrotate`: within half a second the next line "
            "goes to a new file of this name. `portcullis up` chooses one for each program.",
            key="log.file",
        ),
    ] = None
    log_keep_mb: Annotated[
        int,
        Setting(
            "How much log `portcullis up` keeps for each program that it runs, across starts; the "
            "oldest is deleted. An allowed call takes about 0.8 KB in Envoy's log, and as much in that of the "
            "check service with `audit.text`. So the default is a week at two calls a second and twenty minutes "
            "at a thousand: raise it, or collect the logs elsewhere.",
            key="log.keep_mb",
            unit="MiB",
        ),
    ] = Field(default=1024, ge=16, le=1_048_576)
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        BeforeValidator(_lower_case),
        Setting(
            "The least important level that is logged; capitals are allowed.",
            key="log.level",
        ),
    ] = "info"
    audit_dir: Annotated[
        Path | None,
        Setting(
            "The folder of the audit record. Every program adds what it does to files of its own below it, and "
            "refuses what must not happen without a record while it cannot. Without a folder, text in the log is "
            "all there is. Programs of several machines, and of several containers with one host "
            "name, need `audit.node` too if they share the folder.",
            key="audit.dir",
            default_text="none; `portcullis up` uses `audit` in its state folder",
        ),
    ] = None
    audit_node: Annotated[
        str | None,
        AfterValidator(_check_node),
        Setting(
            "The name of this machine in the record: up to 64 characters of a-z, 0-9, `_`, `.` and `-`.",
            key="audit.node",
            default_text="the host name",
        ),
    ] = None
    audit_text: Annotated[
        bool | None,
        Setting(
            "Also writes each event as a line of JSON to the log. With an `audit.dir` this text is a copy, which "
            "costs processor time: no call is refused because the log cannot be written. Without one it is the "
            "only record, and cannot be turned off. Operators' commands print their events on standard error, "
            "unless this is `false`.",
            key="audit.text",
            default_text="`false` with an `audit.dir`, else `true`",
        ),
    ] = None
    trusted_proxies: Annotated[
        int,
        Setting(
            "How many proxies of yours stand before Envoy and add the caller's address to "
            "`X-Forwarded-For`, with a port or without; see [proxies.md](proxies.md). With 0 that "
            "header is ignored. The check service reads it too.",
            key="envoy.trusted_proxies",
        ),
    ] = Field(default=0, ge=0, le=10)

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
        if placed := list(policy_faults(self.resolved_services, self.roles)):
            raise PlacedError(placed)
        return self

    def _faults(self) -> Iterator[str]:
        """The faults of values that are each well-formed, one line a fault."""
        issuer_faults = list(faults_of(self.issuer, what="issuer"))
        if not issuer_faults and _is_at_or_below(path_of(self.issuer), HOST_PATHS):
            issuer_faults.append(f"issuer{quoted(self.issuer)} must not lie at or below {' '.join(HOST_PATHS)}")
        yield from issuer_faults
        try:
            urlsplit(self.issuer)
        except ValueError:
            return  # services have no addresses without it
        if not self.services:
            yield "services is empty: name at least one service"
        seen: dict[str, str] = {}
        for service in self.resolved_services:
            for key in (service.name, service.resource):
                if key in seen:
                    what = repr(key) if key == service.name else "at one URL"
                    yield f"services {seen[key]} and {service.name} are both {what}"
                seen[key] = service.name
            if issuer_faults and service.resource.startswith(origin_of(self.issuer)):
                continue  # reported already
            faults = list(faults_of(service.resource, what=f"url of service {service.name}"))
            yield from faults
            if not faults and not issuer_faults:
                yield from self._path_faults(service)
            if service.assertion and not self.identity_headers.assertion:
                yield f"service {service.name} wants assertions, and identity_headers gives them no name"
        known = {scope for service in self.resolved_services for scope in of_service(service)}
        for number, scope in enumerate(self.default_scopes, 1):
            if scope not in known:
                # The message leaves out the word: a secret in the wrong variable must not appear in a log.
                nearest = ", ".join(get_close_matches(scope, sorted(known), cutoff=0))
                fault = f"number {number} is the scope of no service; the most similar are {nearest}"
                yield f"tokens.default_scopes: {fault}"

    def _path_faults(self, service: Service) -> Iterator[str]:
        url, issuer = urlsplit(service.resource), urlsplit(self.issuer)
        taken = not url.path or _is_at_or_below(url.path, WEB_PATHS)
        if issuer.path:
            # Neither below the issuer nor above it: no path may belong to both.
            apart = not _is_at_or_below(url.path, (issuer.path,)) and not _is_at_or_below(issuer.path, (url.path,))
            taken = not url.path or not apart or _is_at_or_below(url.path, HOST_PATHS)
        if url.netloc == issuer.netloc and taken:
            yield f"url of service {service.name} takes a path of the authorization server: {url.path or '/'}"

    @property
    def policy(self) -> RbacPolicy:
        """The RBAC policy."""
        return RbacPolicy.from_roles(
            (role.named(name) for name, role in self.roles.items()),
            self.resolved_services,
            {service.name: service.limits for service in self.services if service.limits != NO_SERVICE_LIMITS},
        )

    @property
    def policy_version(self) -> str:
        """A digest of the services and roles: equal for the same policy in all programs."""
        policy = self.model_dump(mode="json", include={"issuer", "base_domain", "services", "roles"})
        return sha256_hex(json.dumps(policy, sort_keys=True).encode())[:16]

    @property
    def is_local(self) -> bool:
        """Whether this gateway serves only this machine, so that http and the local sign-in are safe for it."""
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
        rules = service.permissions.rules if service.permissions else None
        if rules is None and service.limits.tools:
            # The tool of a call is in its body, and bodies are read only for rules.
            scope = service.scope or f"mcp.{service.name}"
            rules = ToolRules(otherwise=service.permissions.names if service.permissions else (scope,))
        if url is None:
            url = f"https://{service.name}.{self.base_domain}/mcp" if self.base_domain else f"/{service.name}/mcp"
        return Service(
            name=service.name,
            title=service.title or service.name,
            # At the issuer's host but not below its path, which belongs to the authorization server.
            resource=f"{origin_of(self.issuer)}{url}" if url.startswith("/") else url,
            upstream=service.upstream or f"unix:{self.service_socket(service.name)}:/mcp",
            scope=service.scope or f"mcp.{service.name}",
            named_permissions=service.permissions.names if service.permissions else (),
            rules=rules,
            permission_titles=tuple(service.permission_titles.items()),
            assertion=service.assertion,
            # Rules cover MCP messages, which go to the endpoint; they do not cover the paths below it.
            subpaths=rules is None if service.subpaths is None else service.subpaths,
            filter_lists=service.filter_lists,
            bind_sessions=service.bind_sessions,
        )


def _is_at_or_below(path: str, places: tuple[str, ...]) -> bool:
    return any(f"{path}/".startswith(f"{place}/") for place in places)


class RedisSettings(GatewaySettings):
    """The settings for the connection to Redis (`oauth_core.net.redis_address`)."""

    redis_url: Annotated[
        str,
        AfterValidator(check_redis_url),
        Setting(
            "`redis://`, `rediss://` or `unix://`, with a user name if Redis has users. "
            "`redis+sentinel://host:port,host:port,…/service` names every Sentinel, "
            "`redis+cluster://host:port,…` some nodes of a cluster (`rediss+…` with TLS); see "
            "[redis.md](redis.md).",
            key="redis.url",
        ),
    ] = "redis://127.0.0.1:6379/0"
    redis_password: Annotated[
        SecretStr | None,
        Setting(
            "The password, unless the URL has one.",
            key="redis.password",
        ),
    ] = None
    redis_sentinel_user: Annotated[
        str | None,
        Setting(
            "The user at the Sentinels themselves, if they have users.",
            key="redis.sentinel_user",
        ),
    ] = None
    redis_sentinel_password: Annotated[
        SecretStr | None,
        Setting(
            "The password at the Sentinels themselves.",
            key="redis.sentinel_password",
        ),
    ] = None
    redis_timeout: Annotated[
        float,
        Setting(
            "How long a program waits for an answer from Redis; afterwards the answer to the caller is 503.",
            key="redis.timeout",
            unit="seconds",
        ),
    ] = Field(default=1.0, gt=0, le=30)
