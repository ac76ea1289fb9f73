"""Checks whether other users of this machine can read files with secrets, or write the settings."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING

from oauth_core.settings import DEFINITIONS, SECRETS, AlertSettings, SinkSettings
from oauth_core.settings.production import Advice

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from oauth_core.settings import GatewaySettings

_KEY_FILES = ("tls_key", "authz_tls_key", "authz_upstream_key")


def check_files(
    config: Path | None, environ: Mapping[str, str], loaded: Mapping[str, GatewaySettings]
) -> Iterator[Advice]:
    """Advice about the permissions of files."""
    secrets = {name: environ.get(f"{name.upper()}_FILE") for name in sorted(SECRETS)}
    for settings in loaded.values():
        secrets |= {name: getattr(settings, name) for name in _KEY_FILES if getattr(settings, name, None)}
    for settings in loaded.values():
        if isinstance(settings, AlertSettings):
            yield from _of_destinations(settings)
        if isinstance(settings, SinkSettings):
            yield from _of_sinks(settings)
    for name, file in secrets.items():
        if file and _mode(Path(file)) & stat.S_IROTH:
            yield Advice(
                "unsafe", DEFINITIONS[name].key, f"{file} can be read by every user of this machine: chmod 600"
            )
    for name in sorted(SECRETS):
        if environ.get(name.upper()):
            text = f"stands in the environment, which whoever looks at the process sees; use {name.upper()}_FILE"
            yield Advice("note", DEFINITIONS[name].key, text)
    if config is not None and _mode(config) & (stat.S_IWOTH | stat.S_IWGRP):
        yield Advice(
            "unsafe", "", f"{config} can be changed by other users, and it defines permissions: chmod go-w"
        )


def _of_destinations(settings: AlertSettings) -> Iterator[Advice]:
    for one in settings.alerts_destinations:
        for file in (one.url_file, one.secret_file):
            if file is not None and _mode(file) & stat.S_IROTH:
                text = f"{one.name}: {file} can be read by every user of this machine: chmod 600"
                yield Advice("unsafe", "alerts.destinations", text)


def _of_sinks(settings: SinkSettings) -> Iterator[Advice]:
    for sink in settings.audit_sinks:
        for file in sink.secret_files:
            if _mode(file) & stat.S_IROTH:
                text = f"{sink.name}: {file} can be read by every user of this machine: chmod 600"
                yield Advice("unsafe", "audit.sinks", text)


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except OSError:
        return 0
