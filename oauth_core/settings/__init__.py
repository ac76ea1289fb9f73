"""What an operator can set: one file for what is public, the environment for secrets, read once.

`load` merges, weakest first: defaults, `portcullis.toml`, the environment (`NAME`, the field's name in capitals)
and, for secrets and keys, files named by `NAME_FILE`. All faults are reported together, so that a tired
operator mends them in one go. The environment is an argument: nothing here looks around by itself.

May import `flows` and what is below it. Begin with `gateway`, which has what every program needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from oauth_core.errors import SettingsError
from oauth_core.settings.authz import AuthzSettings
from oauth_core.settings.backup import BackupSettings
from oauth_core.settings.envoy import EnvoySettings
from oauth_core.settings.gateway import WEB_PATHS, CommaList, GatewaySettings, RedisSettings
from oauth_core.settings.services import ServiceSettings
from oauth_core.settings.sources import FILE_FIELDS, SECRET_FIELDS, from_environment, from_file, validated
from oauth_core.settings.tls import TlsSettings
from oauth_core.settings.unsafe import refusals
from oauth_core.settings.web import WebSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "load",
    "AuthzSettings",
    "BackupSettings",
    "EnvoySettings",
    "GatewaySettings",
    "RedisSettings",
    "ServiceSettings",
    "TlsSettings",
    "WebSettings",
    "CommaList",
    "CONFIG_VARIABLE",
    "FIELDS",
    "FILE_FIELDS",
    "KINDS",
    "SECRETS",
    "WEB_PATHS",
]

CONFIG_VARIABLE = "PORTCULLIS_CONFIG"

SettingsType = TypeVar("SettingsType", bound=GatewaySettings)
KINDS: tuple[type[GatewaySettings], ...] = (BackupSettings, AuthzSettings, EnvoySettings)
FIELDS = frozenset(name for kind in KINDS for name in kind.model_fields)
SECRETS = SECRET_FIELDS


def load(kind: type[SettingsType], config: Path | None, environ: Mapping[str, str]) -> SettingsType:
    """Read the settings of one program.

    `config` is the settings file; `None` means the one named by `PORTCULLIS_CONFIG`, if any.
    Raises `SettingsError` with every fault found.
    """
    if config is None and environ.get(CONFIG_VARIABLE):
        config = Path(environ[CONFIG_VARIABLE])
    faults: list[str] = []
    values = from_file(config, FIELDS, faults) if config is not None else {}
    given = from_environment(kind.model_fields, environ, faults)
    if given.get("base_domain") and "issuer" not in given:
        # Whoever names another domain means the issuer that goes with it.
        values.pop("issuer", None)
    values |= given
    # A path that the environment has as empty is not set, whatever the file says.
    values = {name: value for name, value in values.items() if not (name in given and value is None)}
    # What every program needs is looked at by itself first: pydantic compares values with each other only when
    # each is well-formed, and a missing secret must not hide a bad address.
    validated(GatewaySettings, values, faults)
    settings = validated(kind, values, faults)
    if settings is not None:
        faults += refusals(settings)
    if settings is None or faults:
        raise SettingsError(list(dict.fromkeys(faults)))
    return settings
