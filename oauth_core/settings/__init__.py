"""The settings: one file for the public ones, the environment for secrets; read once.

`load` merges, weakest first: defaults, `portcullis.toml`, the environment (`NAME`, the field's name in capitals)
and, for secrets and keys, files named by `NAME_FILE`; `sources` finds each setting. All faults are reported
together, so that an operator can repair them in one step. The environment is an argument: nothing here reads it by
itself. A setting is one field with a `Setting` (`definitions`); the pages and the JSON Schema follow from it.

A new setting goes into the class of its program: `gateway` for all programs, `web` for the authorization server
(lifetimes, refresh grace), `authz` for the check service, `envoy` for Envoy (body sizes, streams), `tls`, `rates`,
`sealing` for the sealer, `monitoring` for what keeps the checkpoints of other nodes, `audit_sinks` for what leaves
this machine, `detecting` for detection, `alerting` for alerts.

May import `flows` and what is below it. For a new setting begin with the class of its program, then `definitions`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from oauth_core.errors import SettingsError
from oauth_core.settings.alerting import AlertSettings
from oauth_core.settings.audit_sinks import SinkSettings
from oauth_core.settings.authz import AuthzSettings
from oauth_core.settings.backup import BackupSettings
from oauth_core.settings.definitions import definitions
from oauth_core.settings.detecting import DetectionSettings
from oauth_core.settings.envoy import EnvoySettings
from oauth_core.settings.gateway import WEB_PATHS, CommaList, GatewaySettings, RedisSettings
from oauth_core.settings.monitoring import MonitorSettings
from oauth_core.settings.sealing import SealSettings
from oauth_core.settings.services import ServiceSettings
from oauth_core.settings.sources import (
    FileSettings,
    SettingValues,
    from_environment,
    from_file,
    validated,
    variable_in,
)
from oauth_core.settings.tls import TlsSettings
from oauth_core.settings.unsafe import refusals
from oauth_core.settings.web import WebSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "load",
    "outdated_names",
    "AlertSettings",
    "AuthzSettings",
    "BackupSettings",
    "DetectionSettings",
    "EnvoySettings",
    "GatewaySettings",
    "RedisSettings",
    "SealSettings",
    "ServiceSettings",
    "SinkSettings",
    "TlsSettings",
    "WebSettings",
    "MonitorSettings",
    "CommaList",
    "CONFIG_VARIABLE",
    "DEFINITIONS",
    "KINDS",
    "SECRETS",
    "WEB_PATHS",
]

CONFIG_VARIABLE = "PORTCULLIS_CONFIG"

SettingsType = TypeVar("SettingsType", bound=GatewaySettings)
KINDS: tuple[type[GatewaySettings], ...] = (
    BackupSettings,
    AuthzSettings,
    EnvoySettings,
    SealSettings,
    AlertSettings,
    SinkSettings,
    MonitorSettings,
)
DEFINITIONS = definitions(KINDS)
"""Every setting, by the name of its field."""
SECRETS = frozenset(name for name, definition in DEFINITIONS.items() if definition.is_secret)
"""The settings that only the environment or a mounted file may contain, never the settings file or a command line.
"""


def load(kind: type[SettingsType], config: Path | None, environ: Mapping[str, str]) -> SettingsType:
    """Read the settings of one program.

    `config` is the settings file; `None` means the one named by `PORTCULLIS_CONFIG`, if any.
    Raises `SettingsError` with every fault found.
    """
    config = _file(config, environ)
    faults: list[str] = []
    written = from_file(config, DEFINITIONS, faults) if config is not None else FileSettings()
    values = dict(written.values)
    given = from_environment((DEFINITIONS[name] for name in kind.model_fields), environ, faults)
    if given.get("base_domain") and "issuer" not in given:
        # An environment with another domain means the issuer of that domain.
        values.pop("issuer", None)
    values |= given
    # A path that is empty in the environment is not set, even if the file sets it.
    values = {name: value for name, value in values.items() if not (name in given and value is None)}
    # The settings of every program are validated separately first: pydantic compares values with each other only
    # when each is well-formed, and a missing secret must not hide a bad address.
    found = SettingValues(
        values, DEFINITIONS, written.places, {name: variable_in(environ, DEFINITIONS[name]) for name in given}
    )
    validated(GatewaySettings, found, faults)
    settings = validated(kind, found, faults)
    if settings is not None:
        faults += refusals(settings, SECRETS)
    if settings is None or faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return settings


def outdated_names(config: Path | None, environ: Mapping[str, str]) -> tuple[str, ...]:
    """A line for each setting under a name of former versions, with the way to write it now.

    This version still reads such names. The file is found as `load` finds it.
    Raises `SettingsError` for a file that cannot be read.
    """
    config = _file(config, environ)
    in_file = [] if config is None else from_file(config, DEFINITIONS, []).outdated
    variables = ((definition.variable, variable_in(environ, definition)) for definition in DEFINITIONS.values())
    return (*in_file, *(f"{old} is an old name: set {new}" for new, old in variables if old != new))


def _file(config: Path | None, environ: Mapping[str, str]) -> Path | None:
    named = environ.get(CONFIG_VARIABLE)
    return Path(named) if config is None and named else config
