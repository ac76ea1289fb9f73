"""Every setting of every program: its value, with secrets masked, and where it came from."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, SecretStr

from oauth_core.errors import SettingsError
from oauth_core.jose.jwk_set_signature import KeySetSigner
from oauth_core.settings import (
    CONFIG_VARIABLE,
    FILE_FIELDS,
    KINDS,
    AuthzSettings,
    BackupSettings,
    load,
)
from oauth_core.settings.sources import TABLES
from oauth_core.settings.toml_places import line_of, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from oauth_core.settings import GatewaySettings

_KEY = "JWKS_VERIFICATION_KEY"
_MASK = "********"
_PASSWORD = re.compile(r"(?<=://)([^:/@\s]*):[^@\s]*@")


@dataclass(frozen=True)
class Setting:
    """One setting as a program would see it."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Survey:
    """Programs' settings by their kind, each setting once, and what keeps programs from starting."""

    loaded: Mapping[str, GatewaySettings]
    settings: tuple[Setting, ...]
    faults: tuple[str, ...]


def survey(config: Path | None, environ: Mapping[str, str]) -> Survey:
    """Look at the settings of all programs."""
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    loaded: dict[str, GatewaySettings] = {}
    found: dict[str, Setting] = {}
    faults: list[str] = []
    origins = Origins(config, environ)
    for kind in KINDS:
        try:
            settings = load(kind, config, _with_verification_key(kind, loaded, environ))
        except SettingsError as error:
            faults += error.faults
            continue
        loaded[kind.__name__] = settings
        for name in kind.model_fields:
            found.setdefault(name, Setting(name, shown(getattr(settings, name)), origins.of(name)))
    faults += _wrong_key(loaded)
    return Survey(loaded, tuple(found.values()), tuple(dict.fromkeys(faults)))


def _wrong_key(loaded: Mapping[str, GatewaySettings]) -> Iterator[str]:
    web, check = loaded.get(BackupSettings.__name__), loaded.get(AuthzSettings.__name__)
    if isinstance(web, BackupSettings) and isinstance(check, AuthzSettings):
        ours = KeySetSigner(web.master_key_bytes).verification_key
        if check.jwks_verification_key.rstrip("=") != ours:
            yield (
                "jwks_verification_key does not belong to this master_key: the check service would refuse every "
                f"request; set it to {ours}"
            )


def _with_verification_key(
    kind: type[GatewaySettings], loaded: Mapping[str, GatewaySettings], environ: Mapping[str, str]
) -> Mapping[str, str]:
    """`environ`, for the check service with the public key that belongs to the master key, as `up` gives it."""
    web = loaded.get(BackupSettings.__name__)
    if not issubclass(kind, AuthzSettings) or not isinstance(web, BackupSettings):
        return environ
    if environ.get(_KEY) or environ.get(f"{_KEY}_FILE"):
        return environ
    return {**environ, _KEY: KeySetSigner(web.master_key_bytes).verification_key}


class Origins:
    """Where the value of a setting comes from."""

    def __init__(self, config: Path | None, environ: Mapping[str, str]) -> None:
        self._config = config
        self._environ = environ
        try:
            self._lines = lines_of(config.read_text(encoding="utf-8-sig")) if config else {}
        except (OSError, UnicodeDecodeError):
            self._lines = {}

    def of(self, name: str) -> str:
        """In words: a variable, a file and its line, or `default`."""
        variable = name.upper()
        if name in FILE_FIELDS and self._environ.get(f"{variable}_FILE"):
            return f"{variable}_FILE: {self._environ[f'{variable}_FILE']}"
        if name not in TABLES and variable in self._environ:
            return variable
        if variable == _KEY and self._line(name) is None:
            return "belongs to master_key"
        if name == "issuer" and self._environ.get("BASE_DOMAIN"):
            return "BASE_DOMAIN"
        line = self._line(name)
        if line is None and name == "issuer":
            line = self._line("base_domain")
        return "default" if line is None else f"{self._config}:{line}"

    def _line(self, name: str) -> int | None:
        return line_of(self._lines, (name,)) or min(
            (line for place, line in self._lines.items() if place[0] == name), default=None
        )


def shown(value: object) -> str:
    """A value for people, without what is secret in it."""
    if isinstance(value, SecretStr):
        return _MASK
    if isinstance(value, dict):
        return ", ".join(value) or "none"
    if isinstance(value, tuple):
        return ", ".join(shown(getattr(item, "name", item)) for item in value) or "none"
    if isinstance(value, BaseModel):
        return " ".join(f"{name}={shown(part)}" for name, part in value)
    if value is None:
        return "none"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return _PASSWORD.sub(rf"\1:{_MASK}@", text)
