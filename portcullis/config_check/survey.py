"""Every setting of every program: its value, with secrets masked, and its origin."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr

from oauth_core.errors import SettingsError
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.policy.session_binding import session_key
from oauth_core.settings import (
    CONFIG_VARIABLE,
    DEFINITIONS,
    KINDS,
    AuthzSettings,
    BackupSettings,
    load,
    outdated_names,
)
from oauth_core.settings.sources import variable_in
from oauth_core.settings.toml_places import lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from oauth_core.settings import GatewaySettings, ServiceSettings
    from oauth_core.settings.definitions import Definition
    from oauth_core.settings.roles import RoleSettings

_KEY = "JWKS_VERIFICATION_KEY"
_SESSION_KEY = "SESSION_KEY"
_MASK = "********"
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*@")


@dataclass(frozen=True)
class Setting:
    """One setting as its program reads it."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Survey:
    """The programs' settings by kind, each setting once, and the faults that keep programs from starting."""

    loaded: Mapping[str, GatewaySettings]
    settings: tuple[Setting, ...]
    faults: tuple[str, ...]
    outdated: tuple[str, ...] = ()
    """A line for each name of former versions."""


def survey(config: Path | None, environ: Mapping[str, str]) -> Survey:
    """Load the settings of all programs."""
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    try:
        outdated = outdated_names(config, environ)
    except SettingsError:
        outdated = ()  # the file cannot be read, which each program says below
    loaded: dict[str, GatewaySettings] = {}
    found: dict[str, Setting] = {}
    faults: list[str] = []
    origins = Origins(config, environ)
    for kind in KINDS:
        try:
            settings = load(kind, config, _with_derived_keys(kind, loaded, environ))
        except SettingsError as error:
            faults += error.faults
            continue
        loaded[kind.__name__] = settings
        for name in kind.model_fields:
            definition = DEFINITIONS[name]
            value = format_value(getattr(settings, name))
            found.setdefault(name, Setting(definition.key, value, origins.origin(definition)))
    faults += _wrong_key(loaded)
    found |= {setting.name: setting for setting in _limits(loaded, found)}
    return Survey(loaded, tuple(found.values()), tuple(dict.fromkeys(faults)), outdated)


def _limits(loaded: Mapping[str, GatewaySettings], found: Mapping[str, Setting]) -> Iterator[Setting]:
    """The limits on calls, which are inside the tables of services and roles."""
    settings = next(iter(loaded.values()), None)
    if settings is None:
        return
    places: list[tuple[str, str, ServiceSettings | RoleSettings]] = [
        ("services", f"services.{service.name}", service) for service in settings.services
    ]
    places += [("roles", f"roles.{name}", role) for name, role in settings.roles.items()]
    for table, place, at in places:
        for name in ("rate", "client_rate", "quota", "tool_rates", "tool_quotas"):
            value = getattr(at, name, None)
            if value:
                text = (
                    ", ".join(f"{tool} {limit}" for tool, limit in value.items())
                    if isinstance(value, dict)
                    else value
                )
                yield Setting(f"{place}.{name}", text, found[table].origin)


def _wrong_key(loaded: Mapping[str, GatewaySettings]) -> Iterator[str]:
    web, check = loaded.get(BackupSettings.__name__), loaded.get(AuthzSettings.__name__)
    if isinstance(web, BackupSettings) and isinstance(check, AuthzSettings):
        ours = KeySetSigner(web.master_key_bytes).verification_key
        if check.jwks_verification_key.rstrip("=") != ours:
            yield (
                "check.jwks_verification_key does not belong to this server.master_key: the check service would "
                f"refuse every request; set it to {ours}"
            )


def _with_derived_keys(
    kind: type[GatewaySettings], loaded: Mapping[str, GatewaySettings], environ: Mapping[str, str]
) -> Mapping[str, str]:
    """`environ`, for the check service with the keys that belong to the master key, as `up` gives them."""
    web = loaded.get(BackupSettings.__name__)
    if not issubclass(kind, AuthzSettings) or not isinstance(web, BackupSettings):
        return environ
    derived = {
        _KEY: KeySetSigner(web.master_key_bytes).verification_key,
        _SESSION_KEY: session_key(web.master_key_bytes),
    }
    given = {name for name in derived if environ.get(name) or environ.get(f"{name}_FILE")}
    return {**environ, **{name: value for name, value in derived.items() if name not in given}}


class Origins:
    """Finds the origin of the value of a setting."""

    def __init__(self, config: Path | None, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        try:
            self._lines = lines_of(config.read_text(encoding="utf-8-sig")) if config else {}
        except (OSError, UnicodeDecodeError):
            self._lines = {}

    def origin(self, definition: Definition) -> str:
        """Return where the value comes from, in words.

        That is a variable, a file and its line, the master key that it is derived from, or `default`.
        """
        variable = variable_in(self._environ, definition)
        if definition.is_mounted and self._environ.get(f"{variable}_FILE"):
            return f"{variable}_FILE: {self._environ[f'{variable}_FILE']}"
        if definition.has_variable and variable in self._environ:
            return variable
        line = self._line(definition)
        if variable == _KEY and line is None:
            return "belongs to server.master_key"
        if definition.name == "issuer" and self._environ.get("BASE_DOMAIN"):
            return "BASE_DOMAIN"
        if line is None and definition.name == "issuer":
            line = self._line(DEFINITIONS["base_domain"])
        return "default" if line is None else f"{self._config}:{line}"

    def _line(self, definition: Definition) -> int | None:
        """The line of its key, also under a name of former versions; the first line of several tables."""
        keys = (tuple(definition.key.split(".")), *definition.former_places)
        lines = (line for place, line in self._lines.items() if any(place[: len(key)] == key for key in keys))
        return min(lines, default=None)


def format_value(value: object) -> str:
    """A value for people, with secrets masked."""
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(format_value(getattr(item, "name", item)) for item in value) or "none"
    if isinstance(value, BaseModel):
        return " ".join(f"{name}={format_value(part)}" for name, part in value)
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _PASSWORD.sub(rf"\1:{_MASK}@", text)
